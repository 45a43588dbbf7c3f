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

/** Whether an object in a part of a parse tree is such a one. What is in constants is not looked at: no verdict may depend on it. */
export function someObject(part: object, is: (field: string, object: object) => boolean): boolean {
  let found = false;
  const look = (field: string, object: object): void => {
    if (found || field === "A_Const") return;
    found = is(field, object);
    if (!found) forEachObject(object, look);
  };
  forEachObject(part, look);
  return found;
}
