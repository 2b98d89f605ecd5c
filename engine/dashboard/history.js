// What was counted when: the engine shows counters that only grow, and this makes rates and percentiles of differences.

const LONGEST_GAP_MS = 10_000; // longer, and a rate over it would say little about now

export class History {
    // Samples of the last `spanMs`, the oldest first. `totalOf(figures)` is a counter that shows when all began anew.
    constructor(spanMs, totalOf) {
        this.spanMs = spanMs;
        this.totalOf = totalOf;
        this.samples = [];
    }

    // `figures`: by deployment id. Begins anew where a counter fell (all processes are new) or nothing was heard long.
    add(atMs, figures) {
        const last = this.samples.at(-1);
        if (last && (atMs - last.atMs > LONGEST_GAP_MS || this.hasFallen(last.figures, figures))) this.samples = [];
        this.samples.push({ atMs, figures });
        while (this.samples[0].atMs < atMs - this.spanMs) this.samples.shift();
    }

    hasFallen(then, now) {
        return Object.keys(now).some((id) => id in then && this.totalOf(now[id]) < this.totalOf(then[id]));
    }

    // The stretch of the last `spanMs`, or as much of it as there is; null before the second sample.
    over(spanMs) {
        const last = this.samples.at(-1);
        const first = this.samples.find((each) => each.atMs >= (last?.atMs ?? 0) - spanMs);
        return first && first !== last ? new Stretch(first, last) : null;
    }

    // Changes a second of `counterOf`, summed over deployments, between each two samples: [{atMs, rate}].
    rates(counterOf) {
        return this.samples.slice(1).map((now, index) => ({
            atMs: now.atMs,
            rate: new Stretch(this.samples[index], now).rate(counterOf),
        }));
    }
}

// Two samples, and what happened between them. A deployment that only one of them knows is left out.
export class Stretch {
    constructor(then, now) {
        this.seconds = (now.atMs - then.atMs) / 1000;
        this.pairs = Object.keys(now.figures)
            .filter((id) => id in then.figures)
            .map((id) => ({ id, then: then.figures[id], now: now.figures[id] }));
    }

    // Of deployment `id` alone.
    only(id) {
        const found = Object.create(Stretch.prototype);
        return Object.assign(found, { seconds: this.seconds, pairs: this.pairs.filter((pair) => pair.id === id) });
    }

    // How much `counterOf(figures)` grew; null where nobody counts it, or another process does since.
    grown(counterOf) {
        const differences = this.pairs
            .map(({ then, now }) => counterOf(now) - counterOf(then))
            .filter((each) => each >= 0);
        return differences.length ? differences.reduce((sum, each) => sum + each, 0) : null;
    }

    rate(counterOf) {
        const grown = this.grown(counterOf);
        return grown === null ? null : grown / this.seconds;
    }

    // The latency in ms below which the share `q` of the answers stayed; null where there were none.
    percentileMs(q) {
        const bounds = this.pairs[0]?.now.latency_buckets?.bounds_s;
        if (!bounds) return null;
        const counts = Array.from({ length: bounds.length + 1 }, (_, bucket) =>
            this.grown((figures) => figures.latency_buckets?.counts[bucket]) ?? 0);
        const found = percentile(bounds, counts, q);
        return found === null ? null : 1000 * found;
    }
}

// Within its bucket as if spread evenly; beyond the last bound there is only that bound.
export function percentile(bounds, counts, q) {
    const total = counts.reduce((sum, each) => sum + each, 0);
    if (total <= 0) return null;
    let below = 0;
    for (let bucket = 0; bucket < bounds.length; bucket += 1) {
        if (below + counts[bucket] >= q * total) {
            const from = bucket ? bounds[bucket - 1] : 0;
            return from + (bounds[bucket] - from) * ((q * total - below) / counts[bucket]);
        }
        below += counts[bucket];
    }
    return bounds.at(-1);
}
