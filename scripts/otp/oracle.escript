#!/usr/bin/env escript
%% Runs scenarios on a real OTP supervisor and prints what it did.
%%
%%   escript oracle.escript SCENARIOS     a file of Erlang terms, {scenario, Name, Top, Script} each
%%
%% Supervisors: {sup, Id, Restart, Strategy, Intensity, Period, Children, Significant, AutoShutdown}
%% Workers:     {worker, Id, Restart, FailingStarts, Significant}
%%              FailingStarts: which start attempts fail
%% Script:      {exit, Id, normal | shutdown | crash} | {terminate, SupId, Id} | {restart, SupId, Id}
%%
%% Output, tab separated, read by `make_golden` beside this file:
%%   scenario NAME | start ID N | failed ID N | stop ID N | died ID N REASON | mark STEP |
%%   alive ID | top up/down | end
-module(oracle).
-mode(compile).
-export([main/1, init/1, start_sup/1, start_worker/1, worker/2]).

main([File]) ->
    {ok, Scenarios} = file:consult(File),
    logger:set_primary_config(level, none),
    process_flag(trap_exit, true),
    ets:new(starts, [named_table, public]),
    ets:new(trace, [named_table, public, ordered_set]),
    lists:foreach(fun run/1, Scenarios).

run({scenario, Name, Top, Script}) ->
    ets:delete_all_objects(starts),
    ets:delete_all_objects(trace),
    io:format("scenario\t~s~n", [Name]),
    {ok, Pid} = start_sup(Top),
    settle(Pid),
    flush_trace(),
    lists:foldl(fun(Op, Step) ->
                        io:format("mark\t~b~n", [Step]),
                        do(Op),
                        settle(Pid),
                        flush_trace(),
                        Step + 1
                end, 1, Script),
    [io:format("alive\t~s~n", [Id]) || Id <- lists:sort(alive(Pid))],
    case is_process_alive(Pid) of
        true ->
            io:format("top\tup~n"),
            exit(Pid, shutdown),
            receive {'EXIT', Pid, _} -> ok end;
        false ->
            io:format("top\tdown~n")
    end,
    io:format("mark\tshutdown~n"),
    flush_trace(),
    io:format("end~n"),
    drain().

drain() -> receive _ -> drain() after 0 -> ok end.

%% ---- the tree

start_sup({sup, Id, _Restart, Strategy, Intensity, Period, Children, _Significant, Auto}) ->
    Flags = #{strategy => Strategy, intensity => Intensity, period => Period,
              auto_shutdown => Auto},
    supervisor:start_link({local, Id}, ?MODULE, {Flags, [spec(Child) || Child <- Children]}).

init(Tree) -> {ok, Tree}.

spec({worker, Id, Restart, _, Significant} = Worker) ->
    #{id => Id, restart => Restart, significant => Significant,
      start => {?MODULE, start_worker, [Worker]}};
spec({sup, Id, Restart, _, _, _, _, Significant, _} = Sup) ->
    #{id => Id, restart => Restart, significant => Significant, type => supervisor,
      start => {?MODULE, start_sup, [Sup]}}.

start_worker({worker, Id, _, Failing, _Significant}) ->
    N = ets:update_counter(starts, Id, 1, {Id, 0}),
    case lists:member(N, Failing) of
        true -> note({failed, Id, N}), {error, refused};
        false -> proc_lib:start_link(?MODULE, worker, [Id, N])
    end.

worker(Id, N) ->
    process_flag(trap_exit, true),
    register(Id, self()),
    note({start, Id, N}),
    proc_lib:init_ack({ok, self()}),
    receive
        {'EXIT', _, Reason} -> note({stop, Id, N}), exit(Reason);
        {die, Reason} -> note({died, Id, N, Reason}), exit(Reason)
    end.

%% ---- the script

do({exit, Id, Reason}) ->
    case whereis(Id) of
        undefined -> ok;
        Pid -> Ref = monitor(process, Pid), Pid ! {die, Reason},
               receive {'DOWN', Ref, _, _, _} -> ok end
    end;
do({terminate, Sup, Id}) -> catch supervisor:terminate_child(Sup, Id);
do({restart, Sup, Id}) -> catch supervisor:restart_child(Sup, Id).

%% Quiet when nothing was traced and nobody is restarting over several rounds of calls.
settle(Top) -> settle(Top, ets:info(trace, size), 0).

settle(_Top, _Size, 4) -> ok;
settle(Top, Size, Quiet) ->
    Busy = busy(Top),
    timer:sleep(1),
    case ets:info(trace, size) of
        Size when not Busy -> settle(Top, Size, Quiet + 1);
        Other -> settle(Top, Other, 0)
    end.

busy(Sup) ->
    try supervisor:which_children(Sup) of
        Children -> lists:any(fun({_, restarting, _, _}) -> true;
                                 ({_, Pid, supervisor, _}) when is_pid(Pid) -> busy(Pid);
                                 (_) -> false
                              end, Children)
    catch exit:_ -> false
    end.

alive(Sup) ->
    try supervisor:which_children(Sup) of
        Children -> lists:flatmap(fun({_, Pid, supervisor, _}) when is_pid(Pid) -> alive(Pid);
                                     ({Id, Pid, worker, _}) when is_pid(Pid) -> [Id];
                                     (_) -> []
                                  end, Children)
    catch exit:_ -> []
    end.

%% ---- the trace

note(Fact) -> ets:insert(trace, {erlang:unique_integer([monotonic]), Fact}).

flush_trace() ->
    [io:format("~s~n", [lists:join("\t", [io_lib:format("~p", [Word]) || Word <- tuple_to_list(Fact)])])
     || {_, Fact} <- ets:tab2list(trace)],
    ets:delete_all_objects(trace).
