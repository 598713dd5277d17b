"""Tell the time once a second, as a systemd-style service: systemd's protocol needs no library."""

import os
import socket
import time


def sd_notify(message: str) -> None:
    """Send one message, exactly as under systemd: a datagram to the socket in NOTIFY_SOCKET."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.sendto(message.encode(), address.replace("@", "\0", 1))


def main() -> None:
    """Say READY once, then feed the watchdog for as long as the clock goes."""
    sd_notify("READY=1")
    while True:
        now = time.strftime("%H:%M:%S")
        print(now, flush=True)
        sd_notify(f"WATCHDOG=1\nSTATUS=it is {now}")
        time.sleep(1)


if __name__ == "__main__":
    main()
