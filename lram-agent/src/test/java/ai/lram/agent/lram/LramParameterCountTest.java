package ai.lram.agent.lram;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.agent.ConfigException;
import ai.lram.agent.autodiff.Parameter;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Parameter counts of the published sizes, part by part, as counted in the published PyTorch modules. */
class LramParameterCountTest {
    @ParameterizedTest(name = "{0} slstm={1}")
    @CsvSource({
        "16M, false, 16077534, 12939840",
        "16M, true, 16071894, 12934200",
        "48M, false, 47926526, 43269984",
        "48M, true, 47811310, 43154768",
        "110M, false, 108265246, 102089856",
        "110M, true, 107980558, 101805168",
        "206M, false, 206530878, 198836640",
        "206M, true, 205751334, 198057096",
        "408M, false, 409318270, 400105184"
    })
    void hasExactlyThePublishedCounts(String size, boolean slstm, long total, long encoder) {
        try (Lram model = new Lram(LramConfig.published(size, slstm))) {
            assertEquals(total, model.parameters().count(), "total");
            assertEquals(encoder, count(model, "encoder."), "encoder");
        }
    }

    @ParameterizedTest(name = "{0}: D={1}")
    @CsvSource({
        "16M, 512, 1146688, 1124496, 104960, 140800, 104652",
        "48M, 768, 1671232, 1685648, 157440, 211200, 156876",
        "110M, 1024, 2195776, 2246800, 209920, 281600, 209100",
        "206M, 1280, 2720320, 2807952, 262400, 352000, 261324",
        "408M, 1536, 3244864, 3369104, 314880, 422400, 313548"
    })
    void hasThePublishedPartsAroundTheEncoder(
            String size, int width, long image, long head, long state, long actionTable, long predictState) {
        try (Lram model = new Lram(LramConfig.published(size, false))) {
            assertEquals(1000L * width, count(model, "embed_timestep."));
            assertEquals(2L * width, count(model, "embed_return."));
            assertEquals(2L * width, count(model, "embed_rewards."));
            assertEquals(2L * width, count(model, "embed_ln."));
            assertEquals(width + 1L, count(model, "predict_return."));
            assertEquals(width + 1L, count(model, "predict_reward."));
            assertEquals(image, count(model, "embed_image."));
            assertEquals(head, count(model, "action_net."));
            assertEquals(state, count(model, "embed_state."));
            assertEquals(actionTable, count(model, "embed_action_disc."));
            assertEquals(predictState, count(model, "predict_state."));
        }
    }

    @Test
    void refusesSizesThatWereNeverPublished() {
        ConfigException unknown = assertThrows(ConfigException.class, () -> LramConfig.published("7B", false));
        assertTrue(unknown.getMessage().contains("16M, 48M, 110M, 206M, 408M"), unknown.getMessage());
        assertThrows(ConfigException.class, () -> LramConfig.published("408M", true));
    }

    private static long count(Lram model, String prefix) {
        return model.parameters().all().stream()
                .filter(p -> p.name().startsWith(prefix))
                .mapToLong(Parameter::size)
                .sum();
    }
}
