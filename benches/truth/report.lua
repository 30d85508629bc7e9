-- What wrk leaves out of its summary: p95, and the kinds of errors apart.
done = function(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'REPORT {"requests":%d,"p50":%f,"p95":%f,"p99":%f,"max":%f,"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}\n',
    summary.requests, latency:percentile(50), latency:percentile(95), latency:percentile(99), latency.max,
    errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
