import { expect, test } from "vitest";
import { type Amounts, customerAt, messageAt, paymentAt, ticketAt } from "../../proxy/demo/made-up-people.ts";

const FEW: Amounts = { customers: 2000, tickets: 4000, messages: 8000, payments: 3000 };
const ids = (last: number) => Array.from({ length: last }, (_, index) => index + 1);

test("customer 7 is the same person on every machine", () => {
  expect(customerAt(7)).toEqual({
    id: 7,
    name: "Topaz Bellthorn",
    email: "topaz.bellthorn.7@example.com",
    phone: "+1 625 555 0107",
    address: "213 Nowhere Lane, Exampleton",
    birthDate: "1968-08-08",
    country: "FR",
    createdAt: "2023-01-27T09:59:23.000Z",
  });
});

test("nobody can be reached: reserved domains, 555-01xx, test card numbers", () => {
  for (const id of ids(FEW.customers)) {
    expect(customerAt(id).email).toMatch(/^[a-z.0-9-]+@example\.(com|org|net)$/);
    expect(customerAt(id).phone).toMatch(/^\+1 \d{3} 555 01\d\d$/);
    expect(paymentAt(id, FEW.customers).cardNumber).toMatch(/^4000 0000 \d{4} \d{4}$/);
  }
});

test("no two customers share an e-mail address", () => {
  expect(new Set(ids(FEW.customers).map((id) => customerAt(id).email)).size).toBe(FEW.customers);
});

test("a message belongs to its ticket's customer, and everyone exists", () => {
  for (const id of ids(FEW.messages)) {
    const message = messageAt(id, FEW);
    expect(message.customerId).toBe(ticketAt(message.ticketId, FEW.customers).customerId);
    expect(message.customerId).toBeLessThanOrEqual(FEW.customers);
    expect(message.customerId).toBeGreaterThan(0);
  }
});

test("what goes through COPY has no tab, newline or backslash", () => {
  for (const id of ids(FEW.customers)) {
    const values = [customerAt(id), ticketAt(id, 2000), messageAt(id, FEW), paymentAt(id, 2000)];
    for (const value of values.flatMap((row) => Object.values(row))) {
      expect(String(value)).not.toMatch(/[\t\n\r\\]/);
    }
  }
});
