"""HTTP: API Gateway's events, problem documents, and what clients see."""
