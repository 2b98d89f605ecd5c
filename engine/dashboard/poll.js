// Asks once a second, and not at all while nobody looks: a page in the background costs the engine nothing.

const EVERY_MS = 1000;
const LONGEST_MS = 3000; // then it counts as not answering

export class Poll {
    // `ask(signal)` is awaited and may reject; `isWanted()`: whether to ask at all just now.
    constructor(ask, isWanted) {
        this.ask = ask;
        this.isWanted = isWanted;
        this.timer = null;
        this.asking = false;
        document.addEventListener("visibilitychange", () => this.wake());
    }

    // At once, if it is wanted and not under way.
    wake() {
        clearTimeout(this.timer);
        this.timer = null;
        if (!this.asking && !document.hidden && this.isWanted()) this.round();
    }

    async round() {
        const begunAt = performance.now();
        this.asking = true;
        try {
            await this.ask(AbortSignal.timeout(LONGEST_MS));
        } finally {
            this.asking = false;
            this.timer = setTimeout(() => this.wake(), Math.max(0, EVERY_MS - (performance.now() - begunAt)));
        }
    }
}

// The JSON at `path`, relative to this page; {status, document}, with null for what is no JSON. Rejects if nobody answers.
export async function fetchJson(path, options) {
    const response = await fetch(path, { cache: "no-store", ...options });
    const isJson = (response.headers.get("Content-Type") ?? "").startsWith("application/json");
    return { status: response.status, document: isJson ? await response.json() : null };
}
