"""LitServe: pictures come as a file of a form, which is the only way that it takes bytes."""

import litserve
from fastapi import Response
from pipeline import PORT, WORKERS, Pipeline


class Classify(litserve.LitAPI):
    def setup(self, device):
        self._pipeline = Pipeline()

    def decode_request(self, request):
        return request["picture"].file.read()

    def predict(self, picture):
        return self._pipeline(picture)

    def encode_response(self, output):
        return Response(output, media_type="application/json")


if __name__ == "__main__":
    server = litserve.LitServer(
        Classify(api_path="/invocations"),
        accelerator="cpu",
        workers_per_device=WORKERS,
        healthcheck_path="/ping",
    )
    server.run(host="127.0.0.1", port=PORT, generate_client_file=False, log_level="warning")
