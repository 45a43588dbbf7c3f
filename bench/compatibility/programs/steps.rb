require "json"
require "uri"

URL = ENV.fetch("COMPAT_URI")
PLACE = URI(URL)
EMAIL = "customer.7@example.com"

# Runs a block at once, and prints what it returned, or the error: a line of JSON for compatibility/steps.ts.
def step(name)
  line = { step: name, value: yield }
rescue StandardError => error
  line = { step: name, error: "#{sqlstate_of(error)} #{error.message}".strip[0, 300] }
ensure
  puts JSON.generate(line)
  $stdout.flush
end

# Runs what is expected to fail; returns the SQLSTATE.
def failing
  yield
  raise "no error came"
rescue StandardError => error
  sqlstate_of(error) || raise
end

def sqlstate_of(error)
  while error
    result = error.respond_to?(:result) ? error.result : nil
    return result.error_field(PG::PG_DIAG_SQLSTATE) if result.is_a?(PG::Result)
    error = error.respond_to?(:wrapped_exception) ? error.wrapped_exception : error.cause
  end
end
