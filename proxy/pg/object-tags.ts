import type { RenameStmt } from "libpg-query";

/** Kinds of objects as command tags name them (AlterObjectTypeCommandTag and CreateCommandTag of tcop/utility.c). */
const OBJECTS = {
  OBJECT_ACCESS_METHOD: "ACCESS METHOD",
  OBJECT_AGGREGATE: "AGGREGATE",
  OBJECT_ATTRIBUTE: "TYPE",
  OBJECT_CAST: "CAST",
  OBJECT_COLLATION: "COLLATION",
  OBJECT_COLUMN: "TABLE",
  OBJECT_CONVERSION: "CONVERSION",
  OBJECT_DATABASE: "DATABASE",
  OBJECT_DOMAIN: "DOMAIN",
  OBJECT_DOMCONSTRAINT: "DOMAIN",
  OBJECT_EVENT_TRIGGER: "EVENT TRIGGER",
  OBJECT_EXTENSION: "EXTENSION",
  OBJECT_FDW: "FOREIGN DATA WRAPPER",
  OBJECT_FOREIGN_SERVER: "SERVER",
  OBJECT_FOREIGN_TABLE: "FOREIGN TABLE",
  OBJECT_FUNCTION: "FUNCTION",
  OBJECT_INDEX: "INDEX",
  OBJECT_LANGUAGE: "LANGUAGE",
  OBJECT_LARGEOBJECT: "LARGE OBJECT",
  OBJECT_MATVIEW: "MATERIALIZED VIEW",
  OBJECT_OPCLASS: "OPERATOR CLASS",
  OBJECT_OPERATOR: "OPERATOR",
  OBJECT_OPFAMILY: "OPERATOR FAMILY",
  OBJECT_POLICY: "POLICY",
  OBJECT_PROCEDURE: "PROCEDURE",
  OBJECT_PUBLICATION: "PUBLICATION",
  OBJECT_ROLE: "ROLE",
  OBJECT_ROUTINE: "ROUTINE",
  OBJECT_RULE: "RULE",
  OBJECT_SCHEMA: "SCHEMA",
  OBJECT_SEQUENCE: "SEQUENCE",
  OBJECT_STATISTIC_EXT: "STATISTICS",
  OBJECT_SUBSCRIPTION: "SUBSCRIPTION",
  OBJECT_TABCONSTRAINT: "TABLE",
  OBJECT_TABLE: "TABLE",
  OBJECT_TABLESPACE: "TABLESPACE",
  OBJECT_TRANSFORM: "TRANSFORM",
  OBJECT_TRIGGER: "TRIGGER",
  OBJECT_TSCONFIGURATION: "TEXT SEARCH CONFIGURATION",
  OBJECT_TSDICTIONARY: "TEXT SEARCH DICTIONARY",
  OBJECT_TSPARSER: "TEXT SEARCH PARSER",
  OBJECT_TSTEMPLATE: "TEXT SEARCH TEMPLATE",
  OBJECT_TYPE: "TYPE",
  OBJECT_USER_MAPPING: "USER MAPPING",
  OBJECT_VIEW: "VIEW",
  // No command drops or renames these by their kind: they have no tag.
  OBJECT_AMOP: undefined,
  OBJECT_AMPROC: undefined,
  OBJECT_DEFACL: undefined,
  OBJECT_DEFAULT: undefined,
  OBJECT_PARAMETER_ACL: undefined,
  OBJECT_PUBLICATION_NAMESPACE: undefined,
  OBJECT_PUBLICATION_REL: undefined,
} as const satisfies Readonly<Record<ObjectKind, string | undefined>>;

type ObjectKind = NonNullable<RenameStmt["renameType"]>;

const isObjectKind = (kind: string): kind is ObjectKind => Object.hasOwn(OBJECTS, kind);

export type Verb = "ALTER" | "CREATE" | "DROP";

/** A tag such as `DROP TABLE`; OTHER for a kind of object that no released server has. */
export function objectTag(verb: Verb, kind: string | undefined): string {
  const object = kind !== undefined && isObjectKind(kind) ? OBJECTS[kind] : undefined;
  return object === undefined ? "OTHER" : `${verb} ${object}`;
}

/** The tags for objects of all kinds. */
export function objectTags(verb: Verb): readonly string[] {
  return Object.values(OBJECTS).flatMap((object) => (object === undefined ? [] : [`${verb} ${object}`]));
}
