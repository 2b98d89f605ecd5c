-- wrk script: POST one fixed body, count what is not a 200, print one JSON line at the end
local f = assert(io.open(os.getenv("WRK_BODY"), "rb")); local body = f:read("*a"); f:close()
wrk.method = "POST"; wrk.body = body
wrk.headers["Content-Type"] = "audio/wav"
function done(s, l, r)
  io.write(string.format(
    '\nWRKJSON {"requests":%d,"duration_us":%d,"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d,"p50_us":%.0f,"p99_us":%.0f}\n',
    s.requests, s.duration, s.errors.connect, s.errors.read, s.errors.write, s.errors.status, s.errors.timeout,
    l:percentile(50), l:percentile(99)))
end
