package ai.lram.bench;

import static org.junit.jupiter.api.Assertions.assertDoesNotThrow;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.junit.jupiter.api.Test;

class MemoryTest {
    @Test
    void whatDoesNotFitIsRefusedWithItsSize() {
        BenchException e = assertThrows(BenchException.class, () -> Memory.require("size 408M", 5L << 40));
        assertTrue(e.getMessage().contains("size 408M") && e.getMessage().contains("5120.0 GiB"), e.getMessage());
        assertTrue(e.getMessage().contains("; fix: "), e.getMessage());
    }

    @Test
    void whatFitsIsNot() {
        assertTrue(Memory.availableBytes() > 1 << 20);
        assertDoesNotThrow(() -> Memory.require("little", 1 << 10));
        assertEquals("1.5 MiB", Memory.text(3 << 19));
    }
}
