#!/bin/sh
# Add up the orders of each product: pieces and turnover, sorted by name.
set -eu
export LC_ALL=C
cd "$PSUP_PIPELINE_DIR"

{
    echo product,pieces,turnover
    awk -F, 'NR > 1 { pieces[$2] += $3; turnover[$2] += $3 * $4 }
             END { for (p in pieces) printf "%s,%d,%.2f\n", p, pieces[p], turnover[p] }' \
        orders.csv | sort
} > summary.unfinished
mv summary.unfinished summary.csv

echo "$(($(wc -l < summary.csv) - 1)) products in $PWD/summary.csv"
