"""What holds for every test, before the first of them imports anything."""

import os

# A training's numbers hang on the number of threads: it is the same in each process of the tests, whatever
# ran in it before. One, because the pictures are tiny and several tests run at once.
os.environ["OMP_NUM_THREADS"] = "1"
