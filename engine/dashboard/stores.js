// What is kept, and by what connections: cache, journal, pools. What is not configured has no figures.

import { byId } from "./dom.js";
import { NOT_CONFIGURED, bytes, count, duration, share } from "./format.js";
import { Table } from "./table.js";

const LEVELS = [["l1", "Memory (L1)"], ["l2", "Redis (L2)"]];
const POOLS = [["database", "Postgres"], ["redis", "Redis"], ["http", "Original API"]];

const isOff = (found) => found.state === NOT_CONFIGURED;
const unless = (found, text) => (isOff(found) ? "" : text);

const CACHE_COLUMNS = [
    { title: "Level", of: (row) => row.name },
    { title: "State", of: (row) => row.state, as: "state" },
    { title: "Hits", of: (row) => unless(row, count(row.hits)), as: "number" },
    { title: "Misses", of: (row) => unless(row, count(row.misses)), as: "number" },
    { title: "Hit rate", of: (row) => unless(row, share(row.hits + row.misses ? row.hit_rate : null)), as: "number" },
    { title: "Kept", of: (row) => unless(row, kept(row)), as: "number" },
];

const POOL_COLUMNS = [
    { title: "Pool", of: (row) => row.name },
    { title: "State", of: (row) => row.state, as: "state" },
    { title: "In use", of: (row) => unless(row, count(row.in_use)), as: "number" },
    { title: "Idle", of: (row) => unless(row, count(row.idle)), as: "number" },
    { title: "Most", of: (row) => unless(row, count(row.max_connections)), as: "number" },
    { title: "Waiting", of: (row) => unless(row, count(row.waiting)), as: "number" },
    { title: "Opened", of: (row) => unless(row, count(row.opened)), as: "number" },
    { title: "Lost", of: (row) => unless(row, count(row.lost)), as: "number" },
    { title: "Errors", of: (row) => unless(row, count(row.errors)), as: "number" },
];

const JOURNAL_COLUMNS = [
    { title: "Journal", of: (row) => row.name },
    { title: "Records", of: (row) => row.value, as: "number" },
];

const JOURNAL_NAMES = { sqlite: "SQLite", postgres: "Postgres", off: NOT_CONFIGURED };

export class Stores {
    constructor() {
        this.cache = new Table(byId("cache-table"), { caption: "Cache", columns: CACHE_COLUMNS });
        this.journal = new Table(byId("journal-table"), {
            caption: "Journal", columns: JOURNAL_COLUMNS, empty: "The journal is not configured.",
        });
        this.pools = new Table(byId("pool-table"), { caption: "Connections", columns: POOL_COLUMNS });
    }

    show({ cache, journal, connection_pools: pools }) {
        this.cache.fill(LEVELS.map(([level, name]) => ({ name, ...cache[level] })), { note: cacheNote(cache) });
        this.pools.fill(POOLS.map(([pool, name]) => ({ name, ...pools[pool] })));
        this.journal.fill(journalRows(journal), {
            caption: `Journal: ${JOURNAL_NAMES[journal.backend] ?? journal.backend}`,
        });
    }
}

function cacheNote({ ttl_s: ttl, single_flight: flights, l1, l2 }) {
    const ages = [l1, l2].filter((each) => each.age_s !== null).map((each) => duration(each.age_s));
    return [
        ttl === null ? "" : `An answer is used for ${duration(ttl)}`,
        ages.length ? `hits were ${ages.join(" and ")} old on average` : "",
        flights.follower === null ? "" : `${count(flights.follower)} requests shared the work of another`,
    ].filter(Boolean).join("; ");
}

function kept(level) {
    if (level.bytes === null || level.bytes === undefined) return "";
    return `${bytes(level.bytes)} of ${bytes(level.max_bytes)}`;
}

function journalRows(journal) {
    if (journal.backend === "off") return [];
    const behind = journal.backlog ? `${count(journal.backlog)}, oldest ${duration(journal.oldest_s)}` : count(journal.backlog);
    const sent = journal.backend === "postgres" ? count(journal.sent) : NOT_CONFIGURED;
    return [
        { name: "recorded", value: count(journal.recorded) },
        { name: "stored in SQLite", value: count(journal.stored) },
        { name: "sent to Postgres", value: sent },
        { name: "backlog", value: behind },
        { name: "rejected", value: count(journal.rejected) },
        { name: "lost", value: count(journal.lost) },
    ];
}
