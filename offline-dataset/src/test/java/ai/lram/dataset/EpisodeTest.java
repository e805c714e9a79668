package ai.lram.dataset;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;

class EpisodeTest {
    @Test
    void returnsToGoAreSummedFromTheEndInDouble() {
        assertArrayEquals(new float[] {6, 5, 3}, Episode.returnsToGo(new float[] {1, 2, 3}));
        float[] small = new float[20_000_000 / 1000];
        Arrays.fill(small, 1e-4f);
        small[small.length - 1] = 1e4f;
        double exact = 1e4f + (small.length - 1) * (double) 1e-4f;
        assertEquals((float) exact, Episode.returnsToGo(small)[0]);
    }

    @Test
    void columnsMustFillTheRows() {
        Episode.Builder builder = Episode.builder("t", 3);
        assertThrows(IllegalArgumentException.class, () -> builder.column("observation", new float[4]));
        assertThrows(IllegalArgumentException.class, () -> builder.column("observation", new float[0]));
        assertThrows(IllegalArgumentException.class, () -> builder.image(new byte[5]));
        assertThrows(IllegalArgumentException.class, builder::build);
        assertThrows(IllegalArgumentException.class, () -> Episode.builder("t", 0));
    }

    @Test
    void absentRewardsAreNoError() {
        Episode episode =
                Episode.builder("t", 2).column(Column.OBSERVATION, new float[6]).build();
        assertEquals(3, episode.width("observation"));
        assertEquals(0, episode.episodeReturn());
        assertThrows(IllegalArgumentException.class, () -> episode.column(Column.REWARD));
        assertThrows(IllegalArgumentException.class, episode::image);
    }

    @Test
    void featuresRefuseShapesAndNamesThatDisagree() {
        assertThrows(
                IllegalArgumentException.class,
                () -> new FeatureSpec("f", FeatureType.FLOAT32, List.of(2), List.of("one")));
        assertThrows(
                IllegalArgumentException.class,
                () -> new FeatureSpec("f", FeatureType.FLOAT32, List.of(1 << 20, 1 << 20), List.of()));
        assertThrows(IllegalArgumentException.class, () -> FeatureSpec.vector("f", 0));
        assertEquals(60, FeatureSpec.image("i", 3, 4, 5).width());
    }

    @Test
    void errorMessagesSayWhatWhyAndFix() {
        DatasetException error = new CorruptStoreException("what", "because", "do this");
        assertTrue(error.getMessage().equals("what; why: because; fix: do this"));
    }
}
