"""What the server says of itself."""

NAME = "compactor"
EXTENSIONS = ["binary_tensor_data"]
