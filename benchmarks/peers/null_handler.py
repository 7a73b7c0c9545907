"""The peer of serving: FastAPI on uvicorn whose handler reads the body and answers the same bytes every time.

`python -m benchmarks.peers.null_handler PORT SIZE`; what a server costs that computes nothing.
"""

import sys

import uvicorn
from fastapi import FastAPI, Request, Response


def app(size: int) -> FastAPI:
    """An application of one route, whose answer has `size` bytes."""
    made, answer = FastAPI(), b"x" * size

    @made.post("/predict")
    async def predict(request: Request) -> Response:
        await request.body()
        return Response(answer, media_type="application/json")

    return made


if __name__ == "__main__":
    uvicorn.run(app(int(sys.argv[2])), port=int(sys.argv[1]), log_level="error", access_log=False)
