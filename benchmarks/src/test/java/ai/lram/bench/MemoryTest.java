package ai.lram.bench;

import static org.junit.jupiter.api.Assertions.assertDoesNotThrow;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.lang.foreign.Arena;
import java.lang.management.BufferPoolMXBean;
import java.lang.management.ManagementFactory;
import org.junit.jupiter.api.Test;

class MemoryTest {
    @Test
    void whatDoesNotFitIsRefusedWithItsSize() {
        BenchException e = assertThrows(BenchException.class, () -> Memory.require("size 408M", 5L << 40));
        assertTrue(e.getMessage().contains("size 408M") && e.getMessage().contains("5120.0 GiB"), e.getMessage());
        assertTrue(e.getMessage().contains("; fix: "), e.getMessage());
    }

    @Test
    void segmentsAreNotHeldToTheLimitOfDirectBuffers() {
        long before = directBytes();
        try (Arena arena = Arena.ofShared()) {
            assertTrue(arena.allocate(64 << 20).byteSize() > 0);
            assertTrue(directBytes() - before < 32 << 20, "else that limit counts");
        }
    }

    private static long directBytes() {
        return ManagementFactory.getPlatformMXBeans(BufferPoolMXBean.class).stream()
                .filter(b -> b.getName().equals("direct"))
                .mapToLong(BufferPoolMXBean::getMemoryUsed)
                .findFirst()
                .orElseThrow();
    }

    @Test
    void whatFitsIsNot() {
        assertTrue(Memory.availableBytes() > 1 << 20);
        assertDoesNotThrow(() -> Memory.require("little", 1 << 10));
        assertTrue(Memory.lack(1 << 10).isEmpty());
        assertEquals("1.5 MiB", Memory.text(3 << 19));
    }
}
