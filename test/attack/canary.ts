import { LACKING_SETUP } from "./lacking.ts";

/** What every protected value begins with, and nothing else does. */
export const CANARY = "QxZvKjWqHm";

/** The statements that put a canary into every protected value of the support database. */
export const CANARY_SETUP = `
  CREATE TABLE public.notes (id bigint, body text, marks text[], counts int[]);
  INSERT INTO public.notes VALUES (1, 'first', '{a,b}', '{1,2}');
  UPDATE public.customers SET name = '${CANARY}-n' || id, email = '${CANARY}-e' || id || '@example.com',
    phone = '${CANARY}-p' || id, address = '${CANARY}-a' || id;
  UPDATE public.tickets SET subject = '${CANARY}-s' || id, body = '${CANARY}-b' || id;
  UPDATE public.payments SET card_number = '${CANARY}-c' || id;
  UPDATE public.contact_log SET email = '${CANARY}-l' || id;
  REFRESH MATERIALIZED VIEW public.customer_copy;
  GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO anna, ben, cleo, helpdesk_app;
  ${LACKING_SETUP}
  ANALYZE;`;

const reversed = [...CANARY].reverse().join("");

/** The canary as a client may disguise it: other case, backwards, hex, base64, UTF-16, the codes of its letters. */
const FORMS: readonly Buffer[] = [
  ...[CANARY, reversed].flatMap((text) => {
    const bytes = Buffer.from(text);
    return [
      bytes,
      Buffer.from(text.toLowerCase()),
      Buffer.from(text.toUpperCase()),
      Buffer.from(text, "utf16le"),
      Buffer.from(bytes.toString("hex")),
      Buffer.from(bytes.toString("hex").toUpperCase()),
      ...[", ", ",", " "].map((between) => Buffer.from([...bytes].join(between))),
      ...base64Forms(bytes),
    ];
  }),
  Buffer.from(`${CANARY[0]}${CANARY.slice(1).toLowerCase()}`),
];

/** The letters that stay the same wherever the text begins in its group of three bytes. */
function base64Forms(bytes: Buffer): readonly Buffer[] {
  return [0, 1, 2].map((before) => {
    const text = Buffer.concat([Buffer.alloc(before), bytes]).toString("base64");
    const first = Math.ceil((before * 8) / 6);
    const last = Math.floor(((before + bytes.length) * 8) / 6);
    return Buffer.from(text.slice(first, last));
  });
}

/** Whether the bytes hold the canary in any of its forms. */
export function showsCanary(bytes: Buffer): boolean {
  return FORMS.some((form) => bytes.includes(form));
}
