package ai.lram.bench.latency;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

class ClosingTest {
    @Test
    void allAreClosedAndTheFirstFailureCarriesTheOthers() {
        List<String> closed = new ArrayList<>();
        IllegalStateException late = new IllegalStateException("first added");
        IllegalStateException early = new IllegalStateException("last added");
        Closing all = new Closing();
        all.add(() -> {
            closed.add("a");
            throw late;
        });
        all.add(() -> closed.add("b"));
        all.add(() -> {
            closed.add("c");
            throw early;
        });
        assertSame(early, assertThrows(IllegalStateException.class, all::close));
        assertArrayEquals(new Throwable[] {late}, early.getSuppressed());
        assertEquals(List.of("c", "b", "a"), closed);
        all.close();
        assertEquals(3, closed.size());
    }

    @Test
    void aFailureOfTheMeasurementIsNotHiddenByThatOfClosing() {
        IllegalStateException closing = new IllegalStateException("closing");
        IllegalArgumentException measuring = assertThrows(IllegalArgumentException.class, () -> {
            try (Closing all = new Closing()) {
                all.add(() -> {
                    throw closing;
                });
                throw new IllegalArgumentException("measuring");
            }
        });
        assertArrayEquals(new Throwable[] {closing}, measuring.getSuppressed());
    }
}
