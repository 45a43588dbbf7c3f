import java.sql.*;
import java.util.*;

/** What an application does over JDBC; prints what it got, a line each. Arguments: URL, user, password, "app" or "agent". */
public class JdbcTrial {
  static Connection connection;

  public static void main(String[] arguments) throws Exception {
    Properties properties = new Properties();
    properties.setProperty("user", arguments[1]);
    properties.setProperty("password", arguments[2]);
    // Named statements on the server from the third execution on.
    properties.setProperty("prepareThreshold", "3");
    connection = DriverManager.getConnection(arguments[0], properties);
    lookUps();
    attempt("SELECT 1 / 0");
    parts("SELECT id, name FROM customers WHERE id <= 35 ORDER BY id");
    metaData();
    if (arguments[3].equals("app")) {
      parts("SELECT * FROM tickets ORDER BY id");
      writes();
    } else {
      parts("SELECT id, name FROM customers ORDER BY id");
      attempt("SELECT * FROM customers");
      attempt("SELECT card_number FROM payments");
      attempt("UPDATE tickets SET status = 'pending' WHERE id = 9");
    }
    attempt("SELECT 'goes on'");
    connection.close();
  }

  static void lookUps() throws SQLException {
    String sql = "SELECT id, name, email, birth_date FROM customers WHERE email = ?";
    try (PreparedStatement statement = connection.prepareStatement(sql)) {
      for (int i = 0; i < 6; i++) {
        statement.setString(1, "alice.ng.7@example.com");
        print(statement.executeQuery());
      }
    }
  }

  /** setFetchSize outside autocommit makes a portal that is executed in parts. */
  static void parts(String sql) throws SQLException {
    connection.setAutoCommit(false);
    int rows = 0;
    try (Statement statement = connection.createStatement()) {
      statement.setFetchSize(10);
      try (ResultSet result = statement.executeQuery(sql)) {
        while (result.next()) rows++;
        System.out.println("parts: " + rows + " rows of " + result.getMetaData().getColumnCount());
      }
      connection.commit();
    } catch (SQLException error) {
      System.out.println("parts: error " + error.getSQLState());
      connection.rollback();
    }
    connection.setAutoCommit(true);
  }

  static void metaData() throws SQLException {
    DatabaseMetaData about = connection.getMetaData();
    print(about.getTables(null, "public", "%", new String[] {"TABLE", "VIEW"}));
    print(about.getColumns(null, "public", "customers", "%"));
    print(about.getPrimaryKeys(null, "public", "customers"));
    print(about.getIndexInfo(null, "public", "tickets", false, false));
    print(about.getImportedKeys(null, "public", "tickets"));
  }

  static void writes() throws SQLException {
    connection.setAutoCommit(false);
    String sql = "INSERT INTO payments (id, customer_id, amount_cents, currency, paid_at) VALUES (?, ?, ?, 'EUR', '2024-02-01')";
    try (PreparedStatement statement = connection.prepareStatement(sql)) {
      for (int i = 0; i < 20; i++) {
        statement.setLong(1, 900000 + i);
        statement.setLong(2, 7);
        statement.setInt(3, 100);
        statement.addBatch();
      }
      System.out.println("batch: " + Arrays.toString(statement.executeBatch()));
    }
    try (PreparedStatement statement = connection.prepareStatement(
        "INSERT INTO payments (id, customer_id, amount_cents, currency, paid_at) VALUES (910000, 7, 100, 'EUR', '2024-02-01')",
        Statement.RETURN_GENERATED_KEYS)) {
      statement.executeUpdate();
      print(statement.getGeneratedKeys());
    }
    connection.rollback();
    connection.setAutoCommit(true);
  }

  static void attempt(String sql) {
    try (Statement statement = connection.createStatement()) {
      if (statement.execute(sql)) print(statement.getResultSet());
      else System.out.println("changed " + statement.getUpdateCount());
    } catch (SQLException error) {
      System.out.println("error " + error.getSQLState());
    }
  }

  static void print(ResultSet result) throws SQLException {
    ResultSetMetaData about = result.getMetaData();
    while (result.next()) {
      StringBuilder line = new StringBuilder();
      for (int i = 1; i <= about.getColumnCount(); i++) {
        line.append(i > 1 ? ", " : "").append(about.getColumnName(i)).append('=').append(result.getString(i));
      }
      System.out.println(line);
    }
    result.close();
  }
}
