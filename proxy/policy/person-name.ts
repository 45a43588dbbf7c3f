/** Longer names belong to no one. */
const LONGEST_NAME = 128;

/**
 * A person's name as all texts spell it between which nobody sees a difference: in one normal form (Unicode Standard Annex
 * 15), with one space for all white space, and none around it. Undefined: no person can have this name.
 */
export function personName(text: string): string | undefined {
  if (PLAIN.test(text)) return text;
  // A user who could add a space, or write an accent in another form, would get a second budget and escape a
  // suspension. Invisible characters are refused because logs and consoles do not show them, or reorder the text around
  // them.
  if (text.length > LONGEST_NAME || UNSEEN.test(text)) return undefined;
  const name = text.normalize("NFC").replace(/\s+/g, " ").trim();
  return name === "" || name.length > LONGEST_NAME ? undefined : name;
}

/** What most names are: it is looked at for each statement. */
const PLAIN = /^[!-~]{1,128}$/;

/**
 * Control and format characters, halves of a pair, unassigned ones; ends of lines; fillers and letters that show nothing
 * (an empty Braille cell, a note without a head, Khitan's filler); and what stands for bytes that are no UTF-8, of which all
 * look the same.
 */
const UNSEEN = /[\p{C}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}\u2800\u{1D159}\u{16FE4}\uFFFD]/u;
