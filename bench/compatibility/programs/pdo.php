<?php
$place = parse_url(getenv("COMPAT_URI"));
$where = "host={$place['host']} port={$place['port']} dbname=" . substr($place["path"], 1);
const EMAIL = "customer.7@example.com";

// Runs what a step does, and prints what came of it: a line of JSON for compatibility/steps.ts.
function step(string $name, callable $act): void {
  try {
    $line = ["step" => $name, "value" => $act()];
  } catch (Throwable $error) {
    $code = $error instanceof PDOException ? $error->errorInfo[0] ?? "" : "";
    $line = ["step" => $name, "error" => substr(trim("$code " . str_replace("\n", " ", $error->getMessage())), 0, 300)];
  }
  echo json_encode($line), "\n";
}

function failing(callable $act): string {
  try {
    $act();
  } catch (PDOException $error) {
    return $error->errorInfo[0];
  }
  throw new Exception("no error came");
}

$db = new PDO("pgsql:$where;sslmode=disable", $place["user"], $place["pass"], [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION]);
function rows(string $sql, array $values = [], array $options = []): array {
  global $db;
  $statement = $db->prepare($sql, $options);
  $statement->execute($values);
  return $statement->fetchAll(PDO::FETCH_ASSOC);
}

step("list", fn() => rows("SELECT t.*, c.email FROM tickets t JOIN customers c ON c.id = t.customer_id WHERE t.status = ? ORDER BY t.id LIMIT 20", ["open"]));
step("find by e-mail", fn() => rows("SELECT * FROM customers WHERE email = :email", ["email" => EMAIL]));
step("find by e-mail in any case", fn() => rows("SELECT * FROM customers WHERE lower(email) = lower(?)", [EMAIL]));
step("emulated prepares", fn() => rows("SELECT id, phone FROM customers WHERE email = ?", [EMAIL], [PDO::ATTR_EMULATE_PREPARES => true]));
step("no named statements", fn() => rows("SELECT id, phone FROM customers WHERE id = ?", [7], [PDO::PGSQL_ATTR_DISABLE_PREPARES => true]));
step("insert, lastInsertId", function () use ($db) { rows("INSERT INTO tickets (customer_id, subject) VALUES (?, ?)", [7, "New"]); return $db->lastInsertId(); });
step("update of all columns", function () use ($db) {
  $statement = $db->prepare("UPDATE tickets SET customer_id = ?, subject = ?, status = ? WHERE id = ?");
  $statement->execute([8, "Ticket 7", "closed", 7]);
  return $statement->rowCount();
});
step("transaction rolled back", function () use ($db) {
  $db->beginTransaction();
  $db->exec("DELETE FROM ticket_messages WHERE ticket_id = 7");
  $code = failing(fn() => $db->query("SELECT 1 / 0"));
  $db->rollBack();
  return [$code, rows("SELECT count(*) FROM ticket_messages WHERE ticket_id = 7")];
});
step("scrollable cursor", fn() => count(rows("SELECT id FROM tickets ORDER BY id LIMIT 90", [], [PDO::ATTR_CURSOR => PDO::CURSOR_SCROLL])));
step("copy out", fn() => count($db->pgsqlCopyToArray("customers", "\t")));
step("copy in", fn() => $db->pgsqlCopyFromArray("ticket_messages", ["9\tagent\tcopied"], "\t", "\\\\N", "ticket_id, author, body"));
step("notifications", function () use ($db) {
  $db->exec("LISTEN desk");
  $db->exec("NOTIFY desk, 'hello'");
  $told = $db->pgsqlGetNotify(PDO::FETCH_ASSOC, 5000);
  return [$told["message"], $told["pid"] === $db->pgsqlGetPid()];
});
step("wrong statement", fn() => failing(fn() => $db->query("SELEC 1")));

$link = pg_connect("$where user={$place['user']} password={$place['pass']} sslmode=disable");
step("pg_query_params", fn() => pg_fetch_all(pg_query_params($link, "SELECT id, email FROM customers WHERE email = $1", [EMAIL])));
step("pg_prepare, pg_execute", function () use ($link) { pg_prepare($link, "one", "SELECT id, phone FROM customers WHERE id = $1"); return pg_fetch_all(pg_execute($link, "one", [7])); });
step("pg_insert, pg_update, pg_select", function () use ($link) {
  $made = pg_insert($link, "ticket_messages", ["ticket_id" => 10, "author" => "agent", "body" => "x"]) !== false;
  return [$made, pg_update($link, "tickets", ["status" => "open"], ["id" => 10]), count(pg_select($link, "tickets", ["id" => 10]))];
});
step("pg_meta_data", fn() => array_keys(pg_meta_data($link, "customers")));
step("pg_send_query", function () use ($link) { pg_send_query($link, "SELECT 1 AS a; SELECT count(*) FROM tickets"); return [pg_fetch_all(pg_get_result($link)), pg_fetch_all(pg_get_result($link))]; });
