require_relative "../steps"

NAMING = ENV.fetch("DAY_NAMING", "none")
PLAN = JSON.parse(ENV.fetch("DAY_PLAN", "[]"))
WORKERS = 2

# Two workers take the actions of all people in turn, each person's in their order. `acts` has a lambda for each action, which
# is given the person and what the plan says.
def day(acts)
  waiting = PLAN.each_with_index.map do |one, at|
    one["actions"].each_with_index.map { |act, i| ["#{at + 1}.#{i + 1} #{act["action"]}", one["person"], act] }
  end
  busy, turn, lock, changed = {}, 0, Mutex.new, ConditionVariable.new
  take = lambda do
    lock.synchronize do
      until waiting.all?(&:empty?)
        at = waiting.each_index.map { |i| (turn + i) % waiting.size }.find { |i| !waiting[i].empty? && !busy[i] }
        if at
          turn = at + 1
          busy[at] = true
          break [at, waiting[at].shift]
        end
        changed.wait(lock)
      end
    end
  end
  workers = Array.new(WORKERS) do
    Thread.new do
      while (taken = take.call)
        at, (name, person, act) = taken
        begin
          line = { step: name, value: acts.fetch(act["action"]).call(person, act) }
        rescue StandardError => error
          line = { step: name, error: "#{sqlstate_of(error)} #{error.message}".strip[0, 300] }
        end
        lock.synchronize do
          puts JSON.generate(line)
          $stdout.flush
          busy.delete(at)
          changed.broadcast
        end
      end
    end
  end
  workers.each(&:join)
end
