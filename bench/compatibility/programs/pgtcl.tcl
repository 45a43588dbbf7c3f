lappend auto_path {*}[split $env(TCLLIBPATH)] $env(COMPAT_ROOT)/usr/lib/tcltk $env(COMPAT_ROOT)/usr/lib
package require Pgtcl
regexp {//([^:]*):([^@]*)@([^:]*):(\d+)/(.*)} $env(COMPAT_URI) all user password host port database
set db [pg_connect -conninfo "host=$host port=$port dbname=$database user=$user password=$password sslmode=disable"]

proc json {text} { return "\"[string map {\\ \\\\ \" \\\" \n " " \t " "} $text]\"" }
proc list_json {values} { set all {}; foreach value $values { lappend all [json $value] }; return "\[[join $all ,]\]" }

# Runs a script at once, and prints what it returned, or the error: a line of JSON for compatibility/steps.ts.
proc step {name act} {
  if {[catch {uplevel #0 $act} value]} { puts "{\"step\":[json $name],\"error\":[json $value]}" } else { puts "{\"step\":[json $name],\"value\":[list_json $value]}" }
}
proc rows {sql args} {
  global db
  set result [pg_exec $db $sql {*}$args]
  if {[pg_result $result -status] ne "PGRES_TUPLES_OK" && [pg_result $result -status] ne "PGRES_COMMAND_OK"} { error [pg_result $result -error] }
  set found [pg_result $result -list]
  pg_result $result -clear
  return $found
}
step "list" { rows {SELECT t.id, t.note, c.email FROM tickets t JOIN customers c ON c.id = t.customer_id WHERE t.status = 'open' ORDER BY t.id LIMIT 20} }
step "find by e-mail" { rows {SELECT id, name, email, phone FROM customers WHERE email = $1} customer.7@example.com }
step "find by e-mail in any case" { rows {SELECT id, email FROM customers WHERE lower(email) = lower($1)} customer.7@example.com }
step "insert returning" { rows {INSERT INTO tickets (customer_id, subject) VALUES (7, 'New') RETURNING id, status} }
step "pg_select" { set found {}; pg_select $db {SELECT id, phone FROM customers ORDER BY id LIMIT 5} row { lappend found $row(id) $row(phone) }; set found }
step "transaction" { rows BEGIN; rows {UPDATE tickets SET status = 'closed' WHERE id = 7}; rows ROLLBACK; rows {SELECT status FROM tickets WHERE id = 7} }
step "wrong statement" { catch { rows {SELEC 1} } message; string match {*syntax error*} $message }
pg_disconnect $db
