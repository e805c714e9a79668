package ai.lram.runtime.session;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.agent.card.TaskCard;
import ai.lram.runtime.protocol.RobotDescription;
import ai.lram.runtime.protocol.RobotDescription.LimitedQuantity;
import ai.lram.runtime.protocol.RobotDescription.Quantity;
import ai.lram.runtime.testing.Cards;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;

class DescriptionCheckTest {
    private static final TaskCard TASK = Cards.reacher();
    private static final RobotDescription SAME = RobotDescription.of(TASK);

    private static String difference(RobotDescription robot) {
        return DescriptionCheck.difference(TASK, robot).orElseThrow();
    }

    private static RobotDescription with(List<Quantity> observation, List<LimitedQuantity> action) {
        return new RobotDescription(100, observation, List.of(), action, 0);
    }

    @Test
    void acceptsARobotThatDescribesItselfAsTheTask() {
        assertEquals(Optional.empty(), DescriptionCheck.difference(TASK, SAME));
    }

    @Test
    void acceptsARobotWithWiderLimits() {
        RobotDescription robot = with(
                SAME.observation(),
                List.of(
                        new LimitedQuantity("shoulder.cmd", "rad", Double.NEGATIVE_INFINITY, 9),
                        SAME.action().get(1)));
        assertEquals(Optional.empty(), DescriptionCheck.difference(TASK, robot));
    }

    @Test
    void namesAnotherRate() {
        assertTrue(difference(new RobotDescription(50, SAME.observation(), List.of(), SAME.action(), 0))
                .contains("50.0 Hz"));
        assertTrue(difference(new RobotDescription(Double.NaN, SAME.observation(), List.of(), SAME.action(), 0))
                .contains("NaN Hz"));
    }

    @Test
    void namesAMissingObservation() {
        assertTrue(difference(with(SAME.observation().subList(0, 1), SAME.action()))
                .contains("elbow.pos"));
    }

    @Test
    void namesSwappedObservations() {
        assertEquals(
                "observation 0 is elbow.pos on the robot, shoulder.pos in the model",
                difference(with(SAME.observation().reversed(), SAME.action())));
    }

    @Test
    void namesAnotherUnit() {
        assertEquals(
                "observation elbow.pos is in deg on the robot, in rad in the model",
                difference(with(List.of(SAME.observation().get(0), new Quantity("elbow.pos", "deg")), SAME.action())));
        assertEquals(
                "action shoulder.cmd is in no unit on the robot, in rad in the model",
                difference(with(
                        SAME.observation(),
                        List.of(
                                new LimitedQuantity("shoulder.cmd", "", -1, 1),
                                SAME.action().get(1)))));
    }

    @Test
    void namesAnImageTheModelDoesNotKnow() {
        assertTrue(difference(new RobotDescription(100, SAME.observation(), List.of(3, 64, 64), SAME.action(), 0))
                .contains("[3, 64, 64]"));
    }

    @Test
    void namesAnotherNumberOfActions() {
        assertTrue(difference(with(SAME.observation(), SAME.action().subList(0, 1)))
                .contains("elbow.cmd"));
        assertTrue(difference(new RobotDescription(100, SAME.observation(), List.of(), SAME.action(), 3))
                .contains("3 discrete actions"));
        assertTrue(
                difference(with(SAME.observation(), SAME.action().reversed())).contains("action 0 is elbow.cmd"));
    }

    @Test
    void namesALimitNarrowerThanWhatTheModelCommands() {
        assertEquals(
                "action shoulder.cmd may be [-1.0, 0.5] on the robot, the model commands [-1.0, 1.0]",
                difference(with(
                        SAME.observation(),
                        List.of(
                                new LimitedQuantity("shoulder.cmd", "rad", -1, 0.5),
                                SAME.action().get(1)))));
    }
}
