package ai.lram.agent.policy;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.agent.card.TaskCard;
import ai.lram.agent.testing.Cards;
import org.junit.jupiter.api.Test;

class EpisodeReturnTest {
    private static TaskCard imitation() {
        TaskCard t = Cards.continuous("copy", 2, 1);
        return new TaskCard(
                t.id(),
                t.domain(),
                t.rateHz(),
                t.observation(),
                t.imageShape(),
                t.action(),
                0,
                1,
                true,
                0,
                0,
                t.fallback(),
                t.safeAction());
    }

    @Test
    void takesEveryRewardOffTheTarget() {
        TaskCard task = Cards.continuous("move", 2, 1);
        EpisodeReturn r = new EpisodeReturn(task);
        PolicyBatch batch = new PolicyBatch(Cards.model(task), 2);
        r.begin(10);
        r.fill(batch, 1);
        assertTrue(batch.first[1]);
        assertEquals(0, batch.reward[1]);
        assertEquals(10, batch.returnToGo[1]);
        r.rewarded(4);
        r.fill(batch, 1);
        assertFalse(batch.first[1]);
        assertEquals(4, batch.reward[1]);
        assertEquals(6, batch.returnToGo[1]);
        r.rewarded(9);
        r.fill(batch, 1);
        assertEquals(-3, batch.returnToGo[1], "no lower clamp");
        assertEquals(3, r.steps());
        r.begin(5);
        r.fill(batch, 0);
        assertTrue(batch.first[0]);
        assertEquals(0, batch.reward[0], "the last episode's reward is gone");
        assertEquals(5, r.returnToGo());
    }

    @Test
    void asksForNothingWhereTheDataHasNoRewards() {
        TaskCard task = imitation();
        EpisodeReturn r = new EpisodeReturn(task);
        PolicyBatch batch = new PolicyBatch(Cards.model(task), 1);
        r.begin(10);
        r.rewarded(3);
        r.fill(batch, 0);
        assertEquals(0, batch.returnToGo[0]);
        assertEquals(0, batch.reward[0]);
    }

    @Test
    void keepsSmallRewardsOfALongEpisode() {
        EpisodeReturn r = new EpisodeReturn(Cards.continuous("long", 1, 1));
        r.begin(1000);
        for (int t = 0; t < 100_000; t++) {
            r.rewarded(0.01f);
        }
        assertEquals(0, r.returnToGo(), 1e-3, "summed in double");
    }
}
