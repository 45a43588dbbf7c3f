/**
 * The SQLSTATEs of Sluice's own errors. Postgres docs, appendix A "PostgreSQL Error Codes".
 *
 * A refused statement never uses 08xxx, 57P01 to 57P03 or 0A000: connection pools drop the connection on those. They
 * are for the end of the connection itself, and for messages that the proxy does not support.
 */
export type Sqlstate =
  | "08006" // connection_failure: the upstream server is lost
  | "08P01" // protocol_violation
  | "0A000" // feature_not_supported: FunctionCall, replication
  | "22021" // character_not_in_repertoire: text that is not UTF-8
  | "22023" // invalid_parameter_value
  | "22P02" // invalid_text_representation
  | "22P05" // untranslatable_character
  | "22P04" // bad_copy_file_format
  | "25P03" // idle_in_transaction_session_timeout
  | "26000" // invalid_sql_statement_name
  | "28000" // invalid_authorization_specification
  | "28P01" // invalid_password
  | "34000" // invalid_cursor_name
  | "3D000" // invalid_catalog_name: no such database
  | "42501" // insufficient_privilege
  | "42P05" // duplicate_prepared_statement
  | "42P01" // undefined_table
  | "42703" // undefined_column
  | "42883" // undefined_function
  | "42601" // syntax_error
  | "53300" // too_many_connections
  | "53400" // configuration_limit_exceeded: a budget
  | "54000" // program_limit_exceeded: too much for one statement, as rows, bytes, written rows, or a read without a filter
  | "54001" // statement_too_complex
  | "55000" // object_not_in_prerequisite_state: a portal that fetches from itself
  | "57014" // query_canceled
  | "57P01" // admin_shutdown
  | "57P03" // cannot_connect_now
  | "57P05" // idle_session_timeout
  | "58000" // system_error: counters or audit unreachable
  | "00000" // successful_completion: notices
  | "01000" // warning
  | "XX000"; // internal_error

/** Why a session ended, as in metrics and the log: a closed list. */
export type SessionEndReason =
  | "client"
  | "drain"
  | "suspended"
  | "idle"
  | "timeout"
  | "upstream"
  | "protocol"
  | "policy"
  | "other";

/** The error, notice or warning that a client gets from Sluice. It never contains a data value or a secret. */
export interface Refusal {
  readonly severity: "ERROR" | "FATAL" | "WARNING" | "NOTICE";
  readonly sqlstate: Sqlstate;
  readonly message: string;
  readonly detail?: string;
  readonly hint?: string;
  /** The policy line that refused, as a path (`roles.agent.budget.1d`); sent in the constraint-name field. */
  readonly rule?: string;
  /** Identifies its audit event and its log line; sent in the context field. */
  readonly reference?: string;
  /** 1-based, in characters of the client's own statement text. */
  readonly position?: number;
  /** For one that ends the session: why, if its SQLSTATE does not say so. Not sent to the client. */
  readonly ends?: SessionEndReason;
}

export type RefusalFields = Omit<Refusal, "severity" | "sqlstate" | "message">;

/** Refuses a statement; the session continues. */
export function refuse(sqlstate: Sqlstate, message: string, fields: RefusalFields = {}): Refusal {
  return { severity: "ERROR", sqlstate, message, ...fields };
}

/** Refuses and ends the session. */
export function refuseSession(sqlstate: Sqlstate, message: string, fields: RefusalFields = {}): Refusal {
  return { severity: "FATAL", sqlstate, message, ...fields };
}

/** A warning that accompanies a result. */
export function warn(message: string, fields: RefusalFields = {}): Refusal {
  return { severity: "WARNING", sqlstate: "01000", message, ...fields };
}

/** A notice that accompanies a complete result. */
export function notice(message: string, fields: RefusalFields = {}): Refusal {
  return { severity: "NOTICE", sqlstate: "00000", message, ...fields };
}
