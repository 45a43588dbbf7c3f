/**
 * Calls `tell` for each object in a part of a parse tree, with the field that contains it; list items have no field.
 * Lists are iterated by index, because enumerating their keys takes three times as long.
 */
export function forEachObject(part: object, tell: (field: string, object: object) => void): void {
  if (Array.isArray(part)) {
    for (const item of part as readonly unknown[]) {
      if (typeof item === "object" && item !== null) tell("", item);
    }
    return;
  }
  for (const field in part) {
    const value: unknown = part[field as keyof typeof part];
    if (typeof value === "object" && value !== null) tell(field, value);
  }
}
