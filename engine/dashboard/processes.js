// Answers over HTTP by route and status, the processes, and what the supervisor met on its way.

import { byId } from "./dom.js";
import { count, duration, lastLine, perSecond } from "./format.js";
import { Table } from "./table.js";

const ROUTES = { optimized: "optimized", legacy: "original API", other: "other" };

const HTTP_COLUMNS = [
    { title: "Status", of: (row) => row.status },
    { title: "Route", of: (row) => row.route },
    { title: "Answers", of: (row) => count(row.answers), as: "number" },
    { title: "Now", of: (row) => perSecond(row.rate), as: "number" },
];

const PROCESS_COLUMNS = [
    { title: "Process", of: (row) => row.name },
    { title: "Pid", of: (row) => row.pid, as: "number" },
    { title: "State", of: (row) => row.state, as: "state" },
    { title: "Up", of: (row) => (row.uptime_s === null ? "" : duration(row.uptime_s)), as: "number" },
];

const ERROR_COLUMNS = [
    { title: "What failed", of: (row) => row.step },
    { title: "Error", of: (row) => lastLine(row.error) },
    { title: "Times", of: (row) => count(row.count), as: "number" },
    { title: "Began", of: (row) => `${duration(row.since_s)} ago`, as: "number" },
    { title: "State", of: (row) => row.state, as: "state" },
];

export class Processes {
    constructor() {
        this.http = new Table(byId("http-table"), {
            caption: "Answers by status", columns: HTTP_COLUMNS, empty: "Nothing was answered yet.",
        });
        this.processes = new Table(byId("process-table"), { caption: "Processes", columns: PROCESS_COLUMNS });
        this.errors = new Table(byId("error-table"), {
            caption: "Troubles of the supervisor", columns: ERROR_COLUMNS, empty: "None.",
        });
    }

    show(status, httpHistory) {
        this.http.fill(httpRows(status.http ?? {}, httpHistory));
        this.processes.fill(processRows(status));
        this.errors.fill(errorRows(status.health));
    }
}

function httpRows(http, stretch) {
    return Object.entries(http)
        .filter(([, answers]) => answers > 0)
        .map(([name, answers]) => {
            const [route, code] = name.split(".");
            return { status: code, route: ROUTES[route] ?? route, answers, rate: stretch?.rate((all) => all[name] ?? 0) };
        })
        .sort((one, other) => one.status.localeCompare(other.status) || one.route.localeCompare(other.route));
}

function processRows({ supervisor, frontends, deployments, health }) {
    const instances = deployments.flatMap((deployment) => deployment.versions).flatMap((version) => version.instances);
    return [
        { name: "supervisor", pid: supervisor.pid, state: health.state, uptime_s: supervisor.uptime_s },
        ...frontends.map((each) => ({
            name: "frontend", pid: each.pid, state: each.connected ? "connected" : "away", uptime_s: null,
        })),
        ...instances.map((each) => ({
            name: `instance, seat ${each.seat}`, pid: each.pid, state: each.state, uptime_s: each.uptime_s,
        })),
    ];
}

function errorRows(health) {
    return [
        ...health.troubles.map((each) => ({ ...each, state: "failing" })),
        ...health.recent.map((each) => ({ ...each, state: "over" })),
    ];
}
