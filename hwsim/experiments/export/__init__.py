"""Run folders for other tools: MLflow and TensorBoard."""
