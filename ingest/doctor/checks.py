"""The list of checks, in the order in which they are shown: what all others need comes first."""

from __future__ import annotations

from ingest.doctor import broker, collectors, configuration, program, recording, server, storage, vendor
from ingest.doctor.findings import Check

DATABASE_S = 30.0  # an embedded server may have to recover first

CHECKS = (
    Check("Python", program.check_python),
    Check("packages", program.check_packages),
    Check("decoder", program.check_decoder),
    Check("user", program.check_user),
    Check("settings", configuration.check_settings),
    Check("settings", configuration.check_wisdom),
    Check("file modes", configuration.check_modes),
    Check("disk", storage.check_disk),
    Check("journal", storage.check_journal),
    Check("database", server.check_server, DATABASE_S),
    Check("engine", server.check_extension, DATABASE_S),
    Check("schema", server.check_schema, DATABASE_S),
    Check("roles", server.check_roles, DATABASE_S),
    Check("jobs", server.check_jobs, DATABASE_S),
    Check("server", server.check_server_settings, DATABASE_S),
    Check("replica", server.check_replica, DATABASE_S),
    Check("broker", broker.check_broker, 15.0),
    Check("collector", collectors.check_collectors, DATABASE_S),
    Check("ticks", server.check_ticks, DATABASE_S),
    Check("plan", recording.check_plan, DATABASE_S),
    Check("vendor", vendor.check_reachable),
    Check("clock", vendor.check_clock, 15.0),
    Check("token", vendor.check_token, 15.0),
    Check("running", recording.check_running),
    Check("connected", recording.check_connected),
    Check("symbols", recording.check_symbols),
)
