/** A relation as a parse tree names it. */
export interface NamedRelation {
  readonly schemaname?: string;
  readonly relname: string;
  readonly location?: number;
}

/** Tells of each relation that is named anywhere in a tree, in the order of its fields. */
export function forEachNamedRelation(tree: object, found: (named: NamedRelation) => void): void {
  if ("relname" in tree && typeof tree.relname === "string") found(tree as NamedRelation);
  for (const key in tree) {
    const child: unknown = Reflect.get(tree, key);
    if (typeof child === "object" && child !== null) forEachNamedRelation(child, found);
  }
}
