"""mosec: its workers get the bytes of a request, and send bytes back."""

from mosec import Server, Worker
from pipeline import WORKERS, Pipeline


class Classify(Worker):
    def __init__(self):
        self._pipeline = Pipeline()

    def deserialize(self, data):
        return data

    def forward(self, data):
        return self._pipeline(data)

    def serialize(self, data):
        return data


if __name__ == "__main__":
    server = Server()
    server.append_worker(Classify, num=WORKERS)
    server.run()
