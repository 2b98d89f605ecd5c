"""What every server is given on two cores, where it can be told."""

INSTANCES = 2  # processes that hold the model, one thread each
BATCH = 8
WINDOW_MS = 5  # how long a batch may wait to be filled
ANSWER_S = 120  # after which a request may be given up
TOP = 3  # classes in an answer
PORT_VARIABLE = "NIGHTSCAN_BENCH_PORT"
ROUTE = "/predict"
