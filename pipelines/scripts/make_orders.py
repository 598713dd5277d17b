"""Write a table of orders as CSV, the same table every time: a stand-in for somebody's export."""

import argparse
import csv
import os
import random
from pathlib import Path

PRODUCTS = {"apple": 0.3, "bread": 2.4, "cheese": 5.9, "dates": 3.2, "eggs": 2.8}


def main() -> None:
    """Write `orders.csv` under another name and rename it: nobody reads half a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=5000)
    orders = parser.parse_args().orders
    chance = random.Random(20)
    table = Path(os.environ["PSUP_PIPELINE_DIR"], "orders.csv")
    unfinished = table.with_suffix(".unfinished")
    with unfinished.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["order", "product", "pieces", "price"])
        for order in range(1, orders + 1):
            product = chance.choice(list(PRODUCTS))
            rows.writerow([order, product, chance.randint(1, 9), PRODUCTS[product]])
    unfinished.replace(table)
    print(f"{orders} orders in {table}")


if __name__ == "__main__":
    main()
