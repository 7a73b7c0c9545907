"""Models of Hugging Face transformers: a folder or hub id (`hf:`), or inside a package (`package:`)."""
