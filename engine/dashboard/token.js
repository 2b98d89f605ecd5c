// The admin token, if the page was opened with one in its fragment (`nightscan dashboard` does that). It lives in this
// variable alone: not in the address bar, the history, a cookie or any storage.

let token = "";

export function takeToken() {
    const given = new URLSearchParams(location.hash.slice(1)).get("token");
    if (given === null) return;
    token = given;
    history.replaceState(null, "", location.pathname + location.search);
}

export const hasToken = () => token !== "";

// It was refused: asking again with it would only fill a log.
export function dropToken() {
    token = "";
}

export const tokenHeaders = () => ({ Authorization: `Bearer ${token}` });
