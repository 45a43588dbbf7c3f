require "pg"
require_relative "steps"

DB = PG.connect(URL)
def rows(sql, *values) = DB.exec_params(sql, values).to_a

step("list") { rows("SELECT t.*, c.email FROM tickets t JOIN customers c ON c.id = t.customer_id WHERE t.status = $1 ORDER BY t.id LIMIT 20", "open") }
step("find by e-mail") { rows("SELECT * FROM customers WHERE email = $1", EMAIL) }
step("find by e-mail in any case") { rows("SELECT * FROM customers WHERE lower(email) = lower($1)", EMAIL) }
step("find by an array") { rows("SELECT * FROM customers WHERE email = ANY ($1) ORDER BY id", "{#{EMAIL},customer.8@example.com}") }
step("prepared statement") do
  DB.prepare("one", "SELECT id, phone FROM customers WHERE id = $1")
  found = (1..5).map { |id| DB.exec_prepared("one", [id]).to_a }
  DB.exec("DEALLOCATE one")
  found
end
step("describe") do
  DB.prepare("described", "SELECT id, email FROM customers WHERE id = $1")
  described = DB.describe_prepared("described")
  [described.fields, described.paramtype(0)]
end
step("binary results") { DB.exec_params("SELECT id, email FROM customers WHERE id = 7", [], 1).getvalue(0, 1) }
step("insert returning") { rows("INSERT INTO tickets (customer_id, subject) VALUES ($1, $2) RETURNING id, status", 7, "New") }
step("update of all columns") { DB.exec_params("UPDATE tickets SET customer_id = $1, subject = $2, status = $3 WHERE id = $4", [8, "Ticket 7", "closed", 7]).cmd_tuples }
step("transaction rolled back") do
  DB.transaction { DB.exec("DELETE FROM ticket_messages WHERE ticket_id = 7"); raise "back" } rescue nil
  rows("SELECT count(*) FROM ticket_messages WHERE ticket_id = 7")
end
step("pipeline") do
  DB.enter_pipeline_mode
  3.times { |n| DB.send_query_params("SELECT id, phone FROM customers WHERE id = $1", [n + 1]) }
  DB.pipeline_sync
  found = 3.times.map { r = DB.get_result.to_a; DB.get_result; r }
  DB.get_result
  DB.exit_pipeline_mode
  found
end
step("single row mode") do
  DB.send_query_params("SELECT id FROM tickets ORDER BY id LIMIT 90", [])
  DB.set_single_row_mode
  count = 0
  DB.get_result.stream_each { count += 1 }
  DB.get_result
  count
end
step("cursor of SQL") do
  DB.transaction do
    DB.exec("DECLARE c CURSOR FOR SELECT id FROM tickets ORDER BY id LIMIT 90")
    [DB.exec("FETCH 40 FROM c").ntuples, DB.exec("FETCH ALL FROM c").ntuples]
  end
end
step("copy out") do
  lines = []
  DB.copy_data("COPY (SELECT id, email FROM customers ORDER BY id LIMIT 3) TO STDOUT") { while (line = DB.get_copy_data) do lines << line.chomp.split("\t") end }
  lines
end
step("copy in") { DB.copy_data("COPY ticket_messages (ticket_id, author, body) FROM STDIN") { DB.put_copy_data("9\tagent\tcopied\n") }.cmd_tuples }
step("wrong statement") { failing { DB.exec("SELEC 1") } }
step("cancel") { DB.send_query("SELECT pg_sleep(5)"); sleep 0.2; DB.cancel; failing { DB.get_last_result } }
step("notifications") do
  DB.exec("LISTEN desk; NOTIFY desk, 'hello'")
  DB.wait_for_notify(5) { |channel, pid, payload| return_value = [channel, payload, pid == DB.backend_pid]; break return_value }
end
step("encoding") { DB.set_client_encoding("LATIN1"); found = rows("SELECT 'é' AS e").first["e"].bytes; DB.set_client_encoding("UTF8"); found }
DB.close
