// A card for each deployment: its rates, its instances, its batches, and how the form that serves was chosen.

import { byId, fillKeyed, setAttribute, setText } from "./dom.js";
import { count, duration, lastLine, milliseconds, number } from "./format.js";
import { MINUTE_MS, NOW_MS, perBatch, requestsOf } from "./overview.js";
import { kindOf } from "./states.js";
import { Table } from "./table.js";
import { candidateRows, tuningNote, TUNING_COLUMNS } from "./tuning.js";

const INSTANCE_COLUMNS = [
    { title: "Seat", of: (row) => row.seat },
    { title: "State", of: (row) => row.state, as: "state" },
    { title: "Device", of: (row) => row.device },
    { title: "Busy", of: (row) => row.busy, as: "bar" },
    { title: "Requests/s", of: (row) => number(row.rate), as: "number" },
    { title: "Up", of: (row) => duration(row.uptime_s), as: "number" },
    { title: "Note", of: (row) => row.note },
];

const BATCH_COLUMNS = [
    { title: "Size", of: (row) => row.size },
    { title: "Batches", of: (row) => count(row.batches), as: "number" },
    { title: "Share", of: (row) => row.share, as: "bar" },
];

const tablesOf = new WeakMap();

export function showDeployments(status, history) {
    byId("no-deployments").hidden = status.deployments.length > 0;
    fillKeyed(
        byId("deployments"), status.deployments, (each) => each.deployment, makeCard,
        (card, deployment) => fillCard(card, deployment, status.figures[deployment.deployment], history),
    );
    const isOnly = status.deployments.length === 1; // what its figures would be stands above already
    for (const strip of byId("deployments").querySelectorAll(".strip")) strip.hidden = isOnly;
}

function makeCard() {
    const card = byId("deployment-template").content.firstElementChild.cloneNode(true);
    const place = (name) => card.querySelector(`[data-table="${name}"]`);
    tablesOf.set(card, {
        instances: new Table(place("instances"), {
            caption: "Instances", columns: INSTANCE_COLUMNS, empty: "No instance runs.",
        }),
        batches: new Table(place("batches"), { caption: "Batches", columns: BATCH_COLUMNS, empty: "No batch yet." }),
        tuning: new Table(place("tuning"), { caption: "Tuning", columns: TUNING_COLUMNS }),
    });
    return card;
}

function fillCard(card, deployment, figures, history) {
    const field = (name) => card.querySelector(`[data-field="${name}"]`);
    const now = history.over(NOW_MS)?.only(deployment.deployment);
    const minute = history.over(MINUTE_MS)?.only(deployment.deployment);
    const state = card.querySelector("[data-state]");
    setText(state, deployment.state);
    setAttribute(state, "data-kind", kindOf(deployment.state));
    setText(field("name"), deployment.deployment);
    setText(field("model"), modelText(deployment));
    showReason(field("reason"), deployment);
    setText(field("rate"), number(now?.rate(requestsOf)));
    for (const [name, q] of [["p50", 0.5], ["p95", 0.95], ["p99", 0.99]]) {
        setText(field(name), milliseconds(minute?.percentileMs(q)));
    }
    setText(field("waiting"), count(figures?.waiting));
    setText(field("per-batch"), number(perBatch(minute)));
    const tables = tablesOf.get(card);
    tables.instances.fill(instanceRows(deployment, now));
    const batches = batchRows(figures, minute);
    tables.batches.fill(batches.rows, batches);
    tables.tuning.fill(candidateRows(deployment.tuning), { note: tuningNote(deployment.tuning) });
}

function showReason(node, deployment) {
    const serving = servingOf(deployment);
    const text = lastLine(deployment.reason) || serving?.pool_size_reason || "";
    node.hidden = !text;
    setText(node, text);
}

const servingOf = (deployment) => deployment.versions.find((each) => each.state === "serving");

function modelText(deployment) {
    const version = servingOf(deployment) ?? deployment.versions[0];
    const model = version?.model;
    if (!model) return version ? `version ${version.version}` : "";
    return [
        `version ${version.version}`,
        `model ${model.model_version}`,
        `${model.classes} classes`,
        model.segment_s && model.sample_rate_hz ? `${model.segment_s} s at ${model.sample_rate_hz / 1000} kHz` : "",
        `batches up to ${version.max_batch_size}`,
    ].filter(Boolean).join(" · ");
}

// --- instances ------------------------------------------------------------------------------------------------------

function instanceRows(deployment, now) {
    return deployment.versions.flatMap((version) => {
        const several = deployment.versions.length > 1 ? `, version ${version.version}` : "";
        const rows = version.instances.map((instance) => instanceRow(instance, several, now));
        const lacking = version.state === "closing" ? 0 : version.pool_size - version.instances.length;
        for (let each = 0; each < lacking; each += 1) rows.push(emptySeat(version, several));
        return rows;
    });
}

function instanceRow(instance, several, now) {
    const ofSeat = (name) => (figures) => counted(figures, instance, name);
    const busy = now?.rate(ofSeat("busy_ns")) ?? null;
    return {
        ...instance,
        seat: `${instance.seat}${several}`,
        busy: busy === null ? null : busy / 1e9,
        rate: now?.rate(ofSeat("requests")),
        note: lastLine(instance.error) || instance.warnings.join("; "),
    };
}

const counted = (figures, { seat, device }, name) =>
    figures.instances?.find((each) => each.seat === seat && each.device === device)?.[name];

const emptySeat = (version, several) => ({
    seat: `empty${several}`, state: "starting", device: "", busy: null, rate: null, uptime_s: null,
    note: lastLine(version.last_death),
});

// --- batches --------------------------------------------------------------------------------------------------------

const LARGEST_BOUND = 64; // of the sizes that are told apart, each of which is twice the one before

function sizeText(size) {
    if (size > LARGEST_BOUND) return `over ${LARGEST_BOUND}`;
    return size > 2 ? `${size / 2 + 1} to ${size}` : size;
}

function batchRows(figures, minute) {
    const sizes = Object.keys(figures?.batch_sizes ?? {}).map(Number).sort((one, other) => one - other);
    const recent = sizes.map((size) => minute?.grown((each) => each.batch_sizes[size] ?? 0) ?? 0);
    const isRecent = recent.some((each) => each > 0);
    const counts = isRecent ? recent : sizes.map((size) => figures.batch_sizes[size]);
    const total = counts.reduce((sum, each) => sum + each, 0);
    const rows = sizes.map((size, index) => ({ size: sizeText(size), batches: counts[index], share: counts[index] / total }));
    return {
        rows: total ? rows.filter((row) => row.batches > 0) : [],
        caption: isRecent ? "Batches by size, last minute" : "Batches by size, since the start",
    };
}
