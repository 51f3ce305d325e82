import { expect, test } from "vitest";
import { visitorOf } from "../../src/limits";

test.each([
  ["192.0.2.7", "192.0.2.7"],
  ["2001:db8::1", "2001:db8:0:0::/64"],
  ["2001:0DB8:0000:0000:0001::1", "2001:db8:0:0::/64"],
  ["2001:db8:a:b:1:2:3:4", "2001:db8:a:b::/64"],
  ["::1", "0:0:0:0::/64"],
  ["::ffff:192.0.2.7", "::ffff:c000:207"],
  ["", ""],
])("the visitor at %s is %s", (address, visitor) => {
  expect(visitorOf(address)).toBe(visitor);
});
