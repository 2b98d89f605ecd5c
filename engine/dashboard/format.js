// Figures as people read them. What is not known is a dash, what is not configured says so: neither is ever a zero.

export const UNKNOWN = "–";
export const NOT_CONFIGURED = "not configured";

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const time = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

const isKnown = (value) => typeof value === "number" && Number.isFinite(value);

// Three figures at most: 0.04, 0.5, 7.3, 73, 1,234.
export function number(value) {
    if (!isKnown(value)) return UNKNOWN;
    if (value === 0 || Number.isInteger(value)) return whole.format(value);
    const size = Math.abs(value);
    return size >= 99.95 ? whole.format(value) : value.toFixed(size >= 9.95 ? 0 : size >= 0.095 ? 1 : 2);
}

export const count = (value) => (isKnown(value) ? whole.format(value) : UNKNOWN);

export const perSecond = (value) => (isKnown(value) ? `${number(value)}/s` : UNKNOWN);

export const share = (value) => (isKnown(value) ? `${percent(100 * value)} %` : UNKNOWN);

// Never 100 where something is missing, nor 0 where there is something.
function percent(value) {
    const isEnd = value === 0 || value === 100;
    return !isEnd && (value < 1 || value > 99) ? Math.min(99.9, Math.max(0.1, value)).toFixed(1) : whole.format(value);
}

export function milliseconds(value) {
    if (!isKnown(value)) return UNKNOWN;
    return value >= 1000 ? `${number(value / 1000)} s` : `${number(value)} ms`;
}

export function duration(seconds) {
    if (!isKnown(seconds)) return UNKNOWN;
    if (seconds < 60) return `${number(Math.floor(seconds))} s`;
    const minutes = Math.floor(seconds / 60);
    if (minutes < 60) return `${minutes} min`;
    const hours = Math.floor(minutes / 60);
    if (hours < 48) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
    return `${Math.floor(hours / 24)} days`;
}

export function bytes(value) {
    if (!isKnown(value)) return UNKNOWN;
    if (value < 1024 * 1024) return `${number(value / 1024)} KB`;
    return `${number(value / 1024 / 1024)} MB`;
}

// `at`: milliseconds since 1970, or ISO 8601; in the clock of whoever reads.
export function clock(at) {
    const moment = new Date(at);
    return Number.isNaN(moment.getTime()) ? UNKNOWN : time.format(moment);
}

// The last line says what happened; those above it are where.
export const lastLine = (text) => String(text ?? "").trim().split("\n").pop();
