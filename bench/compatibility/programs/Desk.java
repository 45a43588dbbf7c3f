import java.io.StringReader;
import java.io.StringWriter;
import java.net.URI;
import java.sql.*;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.Callable;
import org.postgresql.PGConnection;

/** JDBC, and what Hibernate and connection pools ask of it. */
public class Desk {
  static Connection db;

  public static void main(String[] args) throws Exception {
    URI place = URI.create(System.getenv("COMPAT_URI"));
    String[] user = place.getUserInfo().split(":");
    Properties properties = new Properties();
    properties.put("user", user[0]);
    properties.put("password", user[1]);
    db = DriverManager.getConnection("jdbc:postgresql://" + place.getHost() + ":" + place.getPort() + place.getPath() + "?sslmode=disable", properties);

    step("list", () -> rows("SELECT t.*, c.email FROM tickets t JOIN customers c ON c.id = t.customer_id WHERE t.status = ? ORDER BY t.id LIMIT 20", "open"));
    step("find by e-mail", () -> rows("SELECT * FROM customers WHERE email = ?", "customer.7@example.com"));
    step("find by e-mail in any case", () -> rows("SELECT * FROM customers WHERE lower(email) = lower(?)", "CUSTOMER.7@example.com"));
    step("find by an array", () -> rows("SELECT * FROM customers WHERE email = ANY (?) ORDER BY id", db.createArrayOf("text", new String[] {"customer.7@example.com", "customer.8@example.com"})));
    step("prepared on the server after five times", () -> {
      List<String> found = new ArrayList<>();
      try (PreparedStatement statement = db.prepareStatement("SELECT id, phone FROM customers WHERE id = ?")) {
        for (long id = 1; id <= 10; id++) {
          statement.setLong(1, id);
          found.addAll(read(statement.executeQuery()));
        }
      }
      return found;
    });
    step("batch", () -> {
      try (PreparedStatement statement = db.prepareStatement("INSERT INTO ticket_messages (ticket_id, author, body) VALUES (?, 'agent', ?)")) {
        for (int n = 0; n < 10; n++) {
          statement.setLong(1, 7);
          statement.setString(2, "b" + n);
          statement.addBatch();
        }
        return statement.executeBatch().length;
      }
    });
    step("generated keys", () -> {
      try (PreparedStatement statement = db.prepareStatement("INSERT INTO tickets (customer_id, subject) VALUES (7, 'New')", new String[] {"id"})) {
        statement.executeUpdate();
        return read(statement.getGeneratedKeys());
      }
    });
    step("all generated keys", () -> {
      try (PreparedStatement statement = db.prepareStatement("INSERT INTO tickets (customer_id, subject) VALUES (7, 'New')", Statement.RETURN_GENERATED_KEYS)) {
        statement.executeUpdate();
        return read(statement.getGeneratedKeys());
      }
    });
    step("update of all columns", () -> {
      try (PreparedStatement statement = db.prepareStatement("update tickets set customer_id=?, subject=?, status=? where id=?")) {
        statement.setLong(1, 8);
        statement.setString(2, "Ticket 7");
        statement.setString(3, "closed");
        statement.setLong(4, 7);
        return statement.executeUpdate();
      }
    });
    step("fetch size", () -> {
      db.setAutoCommit(false);
      try (PreparedStatement statement = db.prepareStatement("SELECT id FROM tickets ORDER BY id LIMIT 90")) {
        statement.setFetchSize(20);
        return read(statement.executeQuery()).size();
      } finally {
        db.commit();
        db.setAutoCommit(true);
      }
    });
    step("transaction, savepoint, rollback", () -> {
      db.setAutoCommit(false);
      try (Statement statement = db.createStatement()) {
        statement.executeUpdate("DELETE FROM ticket_messages WHERE ticket_id = 7");
        Savepoint savepoint = db.setSavepoint();
        String code = failing("SELECT 1 / 0");
        db.rollback(savepoint);
        List<String> inside = rows("SELECT count(*) FROM ticket_messages WHERE ticket_id = 7");
        db.rollback();
        return code + inside + rows("SELECT count(*) FROM ticket_messages WHERE ticket_id = 7");
      } finally {
        db.setAutoCommit(true);
      }
    });
    step("copy", () -> {
      StringWriter out = new StringWriter();
      db.unwrap(PGConnection.class).getCopyAPI().copyOut("COPY (SELECT id FROM customers ORDER BY id LIMIT 3) TO STDOUT", out);
      return out.toString().length() + db.unwrap(PGConnection.class).getCopyAPI().copyIn("COPY ticket_messages (ticket_id, author, body) FROM STDIN", new StringReader("9\tagent\tcopied\n"));
    });
    step("wrong statement", () -> failing("SELEC 1"));
    step("query timeout", () -> {
      try (Statement statement = db.createStatement()) {
        statement.setQueryTimeout(1);
        statement.executeQuery("SELECT pg_sleep(5)");
        return "no error came";
      } catch (SQLException error) {
        return error.getSQLState();
      }
    });
    step("isValid and network timeout", () -> {
      db.setNetworkTimeout(Runnable::run, 10000);
      return db.isValid(5);
    });
    step("read only, isolation", () -> {
      db.setReadOnly(true);
      db.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);
      List<String> found = rows("SELECT count(*) FROM tickets");
      db.setTransactionIsolation(Connection.TRANSACTION_READ_COMMITTED);
      db.setReadOnly(false);
      return found;
    });
    step("notifications", () -> {
      try (Statement statement = db.createStatement()) {
        statement.execute("LISTEN desk");
        statement.execute("NOTIFY desk, 'hello'");
        return db.unwrap(PGConnection.class).getNotifications(5000)[0].getParameter();
      }
    });
    step("updatable result", () -> {
      try (Statement statement = db.createStatement(ResultSet.TYPE_SCROLL_INSENSITIVE, ResultSet.CONCUR_UPDATABLE)) {
        ResultSet found = statement.executeQuery("SELECT id, status FROM tickets WHERE id = 9");
        found.next();
        found.updateString("status", "pending");
        found.updateRow();
        return rows("SELECT status FROM tickets WHERE id = 9");
      }
    });
    step("metadata", () -> {
      DatabaseMetaData about = db.getMetaData();
      return read(about.getColumns(null, "public", "customers", "%")).size() + " " + read(about.getPrimaryKeys(null, "public", "tickets")).size() + " "
          + read(about.getImportedKeys(null, "public", "tickets")).size() + " " + read(about.getIndexInfo(null, "public", "tickets", false, true)).size();
    });
    db.close();
  }

  static List<String> rows(String sql, Object... values) throws SQLException {
    try (PreparedStatement statement = db.prepareStatement(sql)) {
      for (int at = 0; at < values.length; at++) statement.setObject(at + 1, values[at]);
      return read(statement.executeQuery());
    }
  }

  static List<String> read(ResultSet found) throws SQLException {
    List<String> fields = new ArrayList<>();
    while (found.next()) for (int at = 1; at <= found.getMetaData().getColumnCount(); at++) fields.add(String.valueOf(found.getObject(at)));
    return fields;
  }

  static String failing(String sql) {
    try (Statement statement = db.createStatement()) {
      statement.execute(sql);
      return "no error came";
    } catch (SQLException error) {
      return error.getSQLState();
    }
  }

  static void step(String name, Callable<Object> act) {
    String outcome;
    try {
      outcome = "\"value\":" + json(act.call());
    } catch (Exception error) {
      String code = error instanceof SQLException ? ((SQLException) error).getSQLState() + " " : "";
      outcome = "\"error\":" + json(code + error.getMessage());
    }
    System.out.println("{\"step\":" + json(name) + "," + outcome + "}");
  }

  static String json(Object value) {
    if (value instanceof List) {
      List<String> parts = new ArrayList<>();
      for (Object part : (List<?>) value) parts.add(json(part));
      return "[" + String.join(",", parts) + "]";
    }
    return "\"" + String.valueOf(value).replace("\\", "\\\\").replace("\"", "\\\"").replace("\n", " ") + "\"";
  }
}
