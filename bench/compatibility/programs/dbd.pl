use strict;
use warnings;
use DBI;
use DBD::Pg qw(:pg_types :async);
use JSON::PP;

my ($user, $password, $host, $port, $database) = $ENV{COMPAT_URI} =~ m{//(.*?):(.*?)@(.*?):(\d+)/(.*)};
my $json = JSON::PP->new->canonical->allow_nonref;
my $email = 'customer.7@example.com';

# Runs what a step does, and prints what came of it: a line of JSON for compatibility/steps.ts.
sub step {
  my ($name, $act) = @_;
  my $value = eval { $act->() };
  my $error = $@;
  $error =~ s/\s+/ /g;
  my $outcome = $error ? '"error":' . $json->encode(($DBI::state || '') . " $error") : '"value":' . $json->encode($value);
  print '{"step":', $json->encode($name), ",$outcome}\n";
}

my $db = DBI->connect("dbi:Pg:host=$host;port=$port;dbname=$database;sslmode=disable", $user, $password, { RaiseError => 1, PrintError => 0, AutoCommit => 1 });

sub rows { my ($sql, @values) = @_; return $db->selectall_arrayref($sql, {}, @values) }

sub failing { my ($sql) = @_; eval { $db->do($sql) }; return $db->state }

step('list', sub { rows(q{SELECT t.*, c.email FROM tickets t JOIN customers c ON c.id = t.customer_id WHERE t.status = ? ORDER BY t.id LIMIT 20}, 'open') });
step('find by e-mail', sub { rows('SELECT * FROM customers WHERE email = ?', $email) });
step('find by e-mail in any case', sub { rows('SELECT * FROM customers WHERE lower(email) = lower(?)', $email) });
step('find by an array', sub { rows('SELECT * FROM customers WHERE email = ANY (?) ORDER BY id', [$email, 'customer.8@example.com']) });
step('prepared on the server', sub {
  my $statement = $db->prepare('SELECT id, phone FROM customers WHERE id = ?', { pg_prepare_now => 1 });
  return [map { $statement->execute($_); $statement->fetchall_arrayref } 1 .. 5];
});
step('insert returning', sub { rows('INSERT INTO tickets (customer_id, subject) VALUES (?, ?) RETURNING id, status', 7, 'New') });
step('last_insert_id', sub { $db->do(q{INSERT INTO ticket_messages (ticket_id, author, body) VALUES (7, 'agent', 'x')}); $db->last_insert_id(undef, 'public', 'ticket_messages', undef) });
step('update of all columns', sub { $db->do('UPDATE tickets SET customer_id = ?, subject = ?, status = ? WHERE id = ?', {}, 8, 'Ticket 7', 'closed', 7) });
step('transaction, savepoint, rollback', sub {
  $db->begin_work;
  $db->do('DELETE FROM ticket_messages WHERE ticket_id = 7');
  $db->pg_savepoint('s');
  my $code = failing('SELECT 1 / 0');
  $db->pg_rollback_to('s');
  my $inside = rows('SELECT count(*) FROM ticket_messages WHERE ticket_id = 7');
  $db->rollback;
  return [$code, $inside];
});
step('copy out', sub {
  $db->do('COPY (SELECT id, email FROM customers ORDER BY id LIMIT 3) TO STDOUT');
  my ($line, @lines) = ('');
  while ($db->pg_getcopydata($line) >= 0) { chomp $line; push @lines, [split /\t/, $line] }
  return \@lines;
});
step('copy in', sub {
  $db->do('COPY ticket_messages (ticket_id, author, body) FROM STDIN');
  $db->pg_putcopydata("9\tagent\tcopied\n");
  $db->pg_putcopyend;
  return rows('SELECT count(*) FROM ticket_messages WHERE ticket_id = 9');
});
step('asynchronous query, cancelled', sub { $db->do('SELECT pg_sleep(5)', { pg_async => PG_ASYNC }); return $db->pg_cancel ? 1 : 0 });
step('wrong statement', sub { failing('SELEC 1') });
step('notifications', sub { $db->do('LISTEN desk'); $db->do(q{NOTIFY desk, 'hello'}); my $told = $db->pg_notifies; return [$told->[0], $told->[2], $told->[1] == $db->{pg_pid} ? 1 : 0] });
step('ping, column_info, table_info', sub { [$db->ping, scalar @{ $db->column_info(undef, 'public', 'customers', '%')->fetchall_arrayref }, scalar @{ $db->table_info(undef, 'public', 'ticket%', 'TABLE')->fetchall_arrayref }] });
$db->disconnect;
