"""An Airflow DAG that only calls the public command: state, resuming and the gate are the command's own.

One task a day: Airflow's retries start it again, and it goes on where it was. `max_active_runs=1`, since a day goes on
from the one before.
"""

from __future__ import annotations

import datetime

COMMAND = (
    "cd /srv/entire-space && .venv/bin/python -m daily --log_root=/data/logs --output_root=/data/models "
    "--days=..{{ ds }} --flagfile=daily.flags"
)


def make_dag():
    """The DAG; for Airflow 2 and 3."""
    from airflow import DAG

    try:
        from airflow.providers.standard.operators.bash import BashOperator
    except ImportError:
        from airflow.operators.bash import BashOperator

    with DAG(
        "entire_space_daily",
        schedule="15 4 * * *",
        start_date=datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc),
        catchup=False,
        max_active_runs=1,
        default_args={"retries": 3, "retry_delay": datetime.timedelta(minutes=20)},
    ) as dag:
        BashOperator(task_id="daily", bash_command=COMMAND)
    return dag


if __name__ != "__main__":
    try:
        dag = make_dag()
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("airflow"):
            raise
