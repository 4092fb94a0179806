"""MLflow's server with the guard around it.

Run it with uvicorn: `uvicorn mlflow_guarded:app --port 5000 --no-proxy-headers`.
"""

from __future__ import annotations

import os

from mlflow.server import ARTIFACT_ROOT_ENV_VAR, BACKEND_STORE_URI_ENV_VAR

from feedback_guard import FeedbackGuardMiddleware, Guard

# What `mlflow server --backend-store-uri … --default-artifact-root …` sets for its workers, before they import this:
os.environ.setdefault(BACKEND_STORE_URI_ENV_VAR, os.environ.get("MLFLOW_BACKEND_STORE_URI", "sqlite:///mlflow.db"))
os.environ.setdefault(ARTIFACT_ROOT_ENV_VAR, os.environ.get("MLFLOW_DEFAULT_ARTIFACT_ROOT", "./mlartifacts"))

from mlflow.server.fastapi_app import app as mlflow_app

app = FeedbackGuardMiddleware(
    mlflow_app, guard=Guard.from_policy(os.environ.get("FEEDBACK_GUARD_POLICY", "policy.yaml"))
)
