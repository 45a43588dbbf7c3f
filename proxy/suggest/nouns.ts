/** The words of a name: `BillingAddress2`, `billing_address_2` and `billing-address 2` give the same. */
export function wordsOf(name: string): string {
  return name
    .normalize("NFD")
    .replaceAll(/\p{M}/gu, "")
    .replaceAll("ß", "ss")
    .replaceAll(/(\p{Ll})(?=\p{Lu})|(\p{L})(?=\p{N})/gu, "$1$2 ")
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}]+/gu, " ")
    .trim();
}

/** A noun and its possible singular forms: customers, addresses, ladies, Kunden, Mitarbeiterinnen. */
export function nounForms(noun: string): readonly string[] {
  const cut = ["s", "es", "e", "n", "en", "innen"].flatMap((end) =>
    noun.endsWith(end) && noun.length > end.length + 2 ? [noun.slice(0, -end.length)] : [],
  );
  return [noun, ...cut, ...(noun.endsWith("ies") ? [`${noun.slice(0, -3)}y`] : [])];
}
