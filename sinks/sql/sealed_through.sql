select coalesce(max(sealed_through_ms), -1) from billing.seal
