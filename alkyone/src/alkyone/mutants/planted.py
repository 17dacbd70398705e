"""The defects that are planted: one of each kind that the rules of Pleiades are there to prevent.

An anchor is a piece of the code as it stands. It must be there exactly once: when the code moves, the defect moves
with it, or ``alkyone/tests/test_mutants.py`` fails.
"""

from __future__ import annotations

from typing import NamedTuple

_QUEUES = "alkyone/tests/components/atlas/test_dao_queues.py"
_HYDRA = "alkyone/tests/components/atlas/test_hydra.py"
_JANITOR = "alkyone/tests/components/maia/test_janitor_agent.py"
_CLIENT = "alkyone/tests/components/maia/test_youtube_client.py"
_KILLED = "alkyone/tests/faults/test_kill_between_steps.py"
_MISSING = "alkyone/tests/faults/test_missing_videos.py"


class Edit(NamedTuple):
    """A piece of a file, and what takes its place."""

    path: str
    anchor: str
    planted: str


class Mutant(NamedTuple):
    """A defect, the rule it breaks, and the tests that must notice."""

    name: str
    rule: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]


MUTANTS = (
    # -- A claim is a lease -------------------------------------------------------------------------------------------
    Mutant(
        "claim-without-lease",
        "a claim sets how long it holds",
        (
            Edit(
                "atlas/src/atlas/adapters/maia_ghost.sql",
                "leased_until = %(now)s + %(lease)s",
                "leased_until = NULL",
            ),
        ),
        (f"{_QUEUES}::test_a_claim_has_one_token_and_hides_its_rows_from_the_next[watchlist]",),
    ),
    Mutant(
        "claim-without-lock",
        "two workers never hold the same row",
        (
            Edit(
                "atlas/src/atlas/adapters/maia_discovery.sql",
                "     ORDER BY next_poll_at\n     LIMIT %(batch_size)s\n       FOR UPDATE SKIP LOCKED",
                "     ORDER BY next_poll_at\n     LIMIT %(batch_size)s",
            ),
        ),
        (f"{_QUEUES}::test_eight_workers_never_hold_the_same_row[channels]",),
    ),
    Mutant(
        "completed-without-token",
        "only whoever shows the live token completes",
        (
            Edit(
                "atlas/src/atlas/adapters/maia_ghost.sql",
                "   AND w.lease_token = o.lease_token\nRETURNING w.video_id;",
                "RETURNING w.video_id;",
            ),
        ),
        (f"{_QUEUES}::test_who_completes_after_somebody_else_took_over_has_lost_the_lease[watchlist]",),
    ),
    Mutant(
        "lost-lease-ignored",
        "a lost lease undoes the whole batch",
        (
            Edit(
                "atlas/src/atlas/adapters/_session.py",
                "    if len(settled) != len(rows):",
                "    if len(settled) > len(rows):",
            ),
        ),
        (f"{_QUEUES}::test_who_completes_after_somebody_else_took_over_has_lost_the_lease[channels]",),
    ),
    Mutant(
        "caught-loss-commits",
        "a lost lease that the block catches dooms the transaction all the same",
        (
            Edit(
                "atlas/src/atlas/adapters/_session.py",
                "            self.lost = exc\n            raise",
                "            raise",
            ),
        ),
        (f"{_QUEUES}::test_a_lost_lease_undoes_the_whole_transaction_even_when_it_is_caught",),
    ),
    Mutant(
        "stays-at-the-head",
        "what failed waits for its next attempt, so no row blocks a queue",
        (
            Edit(
                "atlas/src/atlas/adapters/maia_ghost.sql",
                "       next_track_at = f.next_attempt_at,\n",
                "",
            ),
        ),
        (f"{_QUEUES}::test_what_failed_is_counted_and_waits_for_its_next_attempt[watchlist]",),
    ),
    # -- Nothing observed is lost -------------------------------------------------------------------------------------
    Mutant(
        "delete-before-verify",
        "a sample leaves SQL only after it was read back from the vault",
        (
            Edit(
                "maia/src/maia/janitor/agent.py",
                "            self._vault.verify(shard)",
                "            log.debug('%s is taken for whole', shard)",
            ),
        ),
        (f"{_JANITOR}::test_a_day_whose_shard_does_not_read_back_stays_in_sql",),
    ),
    Mutant(
        "archive-without-match",
        "a day is dropped only when SQL still holds the rows that were written",
        (
            Edit(
                "atlas/src/atlas/adapters/maia_archive.py",
                'if await conn.fetchval(SQL["archive_cold_stats__count"], **bounds) != rows:',
                'if await conn.fetchval(SQL["archive_cold_stats__count"], **bounds) < rows:',
            ),
        ),
        (
            "alkyone/tests/components/atlas/test_dao_janitor.py::test_a_day_that_grew_since_it_was_read_stays_whole",
            f"{_JANITOR}::test_samples_that_come_while_their_day_is_archived_keep_it_in_sql",
        ),
    ),
    Mutant(
        "pruned-unproven",
        "what was replaced goes only when what replaced it is whole",
        (Edit("atlas/src/atlas/vault/audit.py", "            if not problems:\n", "            if True:\n"),),
        ("atlas/tests/test_compaction.py::test_nothing_is_removed_while_what_replaced_it_is_damaged",),
    ),
    Mutant(
        "acknowledge-before-store",
        "a page is acknowledged with what it brought, or after it",
        (
            Edit(
                "maia/src/maia/hunter/agent.py",
                "                new, added = await self._keep(dao, found, rejected, searched, now)\n"
                "                outcomes = self._outcomes(complete, new, now)",
                "                outcomes = self._outcomes(complete, (), now)",
            ),
            Edit(
                "maia/src/maia/hunter/agent.py",
                "            count.update(reading.source.counted_as for reading in complete)",
                "            async with self._dao.transaction() as dao:\n"
                "                new, added = await self._keep(dao, found, rejected, searched, now)\n"
                "            count.update(reading.source.counted_as for reading in complete)",
            ),
        ),
        (f"{_KILLED}::test_a_hunter_that_dies_on_a_walk_goes_on_where_it_was_acknowledged",),
    ),
    Mutant(
        "schedule-before-samples",
        "samples and the next look are one transaction",
        (
            Edit(
                "maia/src/maia/tracker/agent.py",
                "                stored = await dao.log_video_stats_batch(samples)\n",
                "",
            ),
            Edit(
                "maia/src/maia/tracker/agent.py",
                '            summary["videos_tracked"] += len(outcomes)',
                "            stored = await self._dao.log_video_stats_batch(samples)\n"
                '            summary["videos_tracked"] += len(outcomes)',
            ),
        ),
        (f"{_KILLED}::test_a_kill_between_any_two_steps_leaves_no_trace_after_a_rerun[tracker]",),
    ),
    Mutant(
        "event-outside-the-transaction",
        "an event is recorded in the transaction of its change",
        (
            Edit(
                "atlas/src/atlas/adapters/maia_ghost.py",
                "            await events.record_many(conn, gone, now=now)",
                "            for event in gone:\n"
                "                events.emit(event.event_type, event.entity_id, dict(event.payload))",
            ),
        ),
        (f"{_QUEUES}::test_a_video_given_up_and_the_event_of_it_are_there_together_or_not_at_all",),
    ),
    # -- Quota --------------------------------------------------------------------------------------------------------
    Mutant(
        "retry-of-a-spent-bucket",
        "a bucket that the server says is spent is not asked again that day",
        (
            Edit(
                "atlas/src/atlas/hydra.py",
                "            await self._ledger.refused(key.project, bucket, cost, purpose=purpose, now=now)\n",
                "",
            ),
        ),
        (f"{_HYDRA}::test_a_bucket_the_server_says_is_spent_is_never_asked_again_that_day",),
    ),
    Mutant(
        "ledger-after-the-call",
        "quota is reserved before the call",
        (
            Edit(
                "atlas/src/atlas/hydra.py",
                "        await self._ledger.reserve(key.project, bucket, cost, purpose=purpose, now=now)\n"
                "        try:\n"
                "            return await make_request(key.secret.get_secret_value())\n",
                "        try:\n"
                "            answer = await make_request(key.secret.get_secret_value())\n"
                "            await self._ledger.reserve(key.project, bucket, cost, purpose=purpose, now=now)\n"
                "            return answer\n",
            ),
        ),
        (f"{_HYDRA}::test_no_call_is_made_that_the_ledger_has_no_room_for",),
    ),
    Mutant(
        "limit-not-asked",
        "what does not fit into the day is refused",
        (
            Edit(
                "atlas/src/atlas/quota.sql",
                " WHERE kept.used + excluded.used <= %(limit)s\n   AND kept.refused_at",
                " WHERE kept.refused_at",
            ),
        ),
        ("alkyone/tests/components/atlas/test_quota_ledger.py::test_what_does_not_fit_is_refused_and_not_counted",),
    ),
    Mutant(
        "another-project-in-compliance-mode",
        "in compliance mode no other project is used to get round a quota",
        (
            Edit(
                "atlas/src/atlas/hydra.py",
                "        may_move = self._settings.HYDRA_ENABLED and not self._settings.COMPLIANCE_MODE",
                "        may_move = self._settings.HYDRA_ENABLED",
            ),
        ),
        (f"{_HYDRA}::test_in_compliance_mode_a_spent_bucket_never_moves_a_call_to_another_project",),
    ),
    Mutant(
        "quota-day-in-utc",
        "a quota day ends at midnight Pacific",
        (
            Edit(
                "atlas/src/atlas/quota.py",
                'PACIFIC = ZoneInfo("America/Los_Angeles")',
                'PACIFIC = ZoneInfo("UTC")',
            ),
        ),
        ("alkyone/tests/components/atlas/test_quota_ledger.py::test_a_day_lasts_from_midnight_to_midnight_pacific",),
    ),
    # -- Not there, could not look, hidden, nought --------------------------------------------------------------------
    Mutant(
        "missing-without-a-look",
        "an id that did not come back is no proof of deletion",
        (
            Edit(
                "maia/src/maia/tracker/agent.py",
                "        await asyncio.gather(*(self._probe(chunk, answers) for chunk in batched(unaccounted)))",
                "        answers.missing.update(unaccounted)",
            ),
        ),
        (
            "alkyone/tests/faults/test_faulty_youtube.py"
            "::test_ids_that_batch_get_stats_leaves_out_are_read_on_the_way_of_asking_for_their_status",
        ),
    ),
    Mutant(
        "could-not-look-is-missing",
        "not there and could not look are never the same",
        (
            Edit(
                "maia/src/maia/tracker/agent.py",
                "            answers.failed.update(dict.fromkeys(ids, str(error)))\n            return\n",
                "            answers.missing.update(ids)\n            return\n",
            ),
        ),
        (
            "alkyone/tests/faults/test_faulty_youtube.py"
            "::test_a_fault_that_lasts_fails_its_rows_and_no_others[status-status_503]",
        ),
    ),
    Mutant(
        "missing-is-deleted",
        "nothing is deleted for being missing",
        (
            Edit(
                "atlas/src/atlas/adapters/maia_ghost.py",
                "            await events.record_many(conn, gone, now=now)",
                "            await events.record_many(conn, gone, now=now)\n"
                '            await conn.execute("DELETE FROM watchlist WHERE video_id = ANY(%s)",'
                " [[event.entity_id for event in gone]])",
            ),
        ),
        (f"{_MISSING}::test_three_misses_over_days_make_a_video_dormant_and_one_sight_revives_it",),
    ),
    Mutant(
        "hidden-is-nought",
        "a hidden count is absent, which is not zero",
        (
            Edit(
                "maia/src/maia/tracker/agent.py",
                "                samples.append(Sample(video_id, now, *reading))",
                "                samples.append(Sample(video_id, now, *(count or 0 for count in reading)))",
            ),
        ),
        ("alkyone/tests/faults/test_faulty_youtube.py::test_days_of_random_faults_lose_nothing[tracker]",),
    ),
    Mutant(
        "absence-has-no-name",
        "other rows have another digest, also where a count is hidden",
        (
            Edit(
                "atlas/src/atlas/vault/shards.py",
                '    yield b"absent\\n" if column.null_count else b"full\\n"\n    if column.null_count:\n',
                "    if False:\n",
            ),
        ),
        ("atlas/tests/test_shards.py::test_a_hidden_count_beside_a_known_one_is_not_nought",),
    ),
    # -- Secrets, time, imports ---------------------------------------------------------------------------------------
    Mutant(
        "key-in-a-log-line",
        "a secret is in no log",
        (
            Edit(
                "maia/src/maia/youtube/client.py",
                'logger.debug("%s: HTTP %d, %d bytes", call.path, status, len(body))',
                'logger.debug("%s: HTTP %d, %d bytes", self._signed(address, credential)[0], status, len(body))',
            ),
        ),
        (f"{_CLIENT}::test_whatever_goes_wrong_on_the_way_may_heal_and_gives_no_key_away",),
    ),
    Mutant(
        "key-in-an-error",
        "a secret is in no exception, not even where the answer repeats it",
        (
            Edit(
                "maia/src/maia/youtube/client.py",
                "            raise classify(status, _without(credential, body), headers)",
                "            raise classify(status, body, headers)",
            ),
        ),
        (f"{_CLIENT}::test_an_answer_that_echoes_the_key_does_not_spread_it",),
    ),
    Mutant(
        "clock-of-the-server",
        "time is a parameter",
        (
            Edit(
                "atlas/src/atlas/adapters/maia_ghost.sql",
                "     WHERE next_track_at <= %(now)s + %(ahead)s::interval\n       AND (next_track_at <= %(now)s OR",
                "     WHERE next_track_at <= now() + %(ahead)s::interval\n       AND (next_track_at <= now() OR",
            ),
        ),
        (f"{_QUEUES}::test_work_that_is_done_is_not_due_until_its_time[watchlist]",),
    ),
    Mutant(
        "import-opens-a-driver",
        "importing costs nothing",
        (
            Edit(
                "atlas/src/atlas/clock.py",
                "from __future__ import annotations\n",
                "from __future__ import annotations\n\nimport psycopg\n",
            ),
        ),
        ("maia/tests/test_imports.py::test_an_import_brings_no_heavy_library_along",),
    ),
    Mutant(
        "kept-for-ever-in-compliance-mode",
        "in compliance mode no sample is kept for more than thirty days",
        (
            Edit(
                "atlas/src/atlas/config.py",
                "return min(self.VAULT_RETENTION_DAYS or COMPLIANT_RETENTION_DAYS, COMPLIANT_RETENTION_DAYS)",
                "return self.VAULT_RETENTION_DAYS or COMPLIANT_RETENTION_DAYS",
            ),
        ),
        ("atlas/tests/test_config.py::test_samples_stay_in_the_vault_as_long_as_allowed",),
    ),
)
