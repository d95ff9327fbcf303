"""The small Korean words around a verb: directions, particles, adverbs, connectives. Data only."""

from __future__ import annotations

from edge_vla.parse.command import CAREFUL, QUICK, SLOW, Way

_SIDES = {
    Way.LEFT: "왼쪽 왼편 좌측 왼 좌 왼손편 반시계방향 시계반대방향 반시계 레프트",
    Way.RIGHT: "오른쪽 오른편 우측 오른 우 바른쪽 오른손편 시계방향 라이트",
    Way.FORWARD: "앞 앞쪽 전방 정면 앞편 전면",
    Way.BACKWARD: "뒤 뒤쪽 뒷쪽 후방 뒤편 뒷편 후면",
}
DIRECTIONS: dict[str, Way] = {word: way for way, words in _SIDES.items() for word in words.split()}
SIDE_WORDS = frozenset({"옆", "옆쪽", "측면", "가로"})
FORWARD_ADVERBS = frozenset("똑바로 곧장 곧바로 쭉 쭈욱 직선으로 일직선으로".split())
TO_PARTICLES = (
    "쪽으로", "방향으로", "편으로", "쪽으루", "으로", "으루", "로", "루", "쪽으로도", "쪽으로만", "으로도", "으로만", "으로는", "로도",
    "로만", "로는", "",
)  # fmt: skip
AT_PARTICLES = ("쪽에서", "쪽에", "편에", "에서", "에", "의")
OBJECT_PARTICLES = ("을", "를")

_PACES = {
    SLOW: "천천히 느리게 서서히 살살 느릿느릿 슬슬 저속으로",
    CAREFUL: "조심스럽게 조심조심 조심히 신중하게 조심해서 안전하게",
    QUICK: "빠르게 빨리 신속하게 신속히 재빨리 급히 얼른 빨리빨리 어서 서둘러 전속력으로 고속으로 최고속도로",
}
PACES = {word: pace for pace, words in _PACES.items() for word in words.split()}
LITTLE = frozenset("조금 조금만 살짝 약간 약간만 조금씩 살짝만 좀만".split())
FILLERS = frozenset(
    """
    제발 좀 이제 지금 바로 먼저 우선 로봇아 로봇 로봇은 로봇이 로봇님 야 계속 계속해서 그냥 다시 더 한번 번 네 응 자 음 즉시
    당장 꼭 반드시 일단 저기 그럼 여기서 거기서 제자리에서 제자리 그대로 가만히 나는 저는 내가 제가 너는 네가 당신은 우리는
    로버는 로버 부디 다음 다음은 다음으로 가까이 이후 이후에 그리고 그다음 그다음에 그런 그러고 그러면 그리고나서 나서 그후
    그후에 그래서 따라서 그러므로 이번에는 이번엔 지금은 이제는 첫째 둘째 셋째 마지막으로 끝으로 또 또한 및 절대 절대로 결코
    정도 대략 약 한 방향 속도로 안녕 안녕하세요 알겠습니다 알겠어 알았어 좋아 좋아요 물론 예 오케이 로봇에게 바퀴를 몸을 차체를
    차를 로봇을 방향을 몸체를 전체 상태로 상태에서 채로 다 모두 최대한 되도록 가능하면 가능한 혹시 쯤 정도로 만큼 거리를
    거리만큼 각도로 각도만큼 동안 시작 부탁 실시 수행 실행 필요 필요가 요망 요청 바람 바랍니다 최대 최소 최소한 많아야 이하 이하로
    이내 이내로 까지만 범위로 아주 매우 굉장히 무척 상당히 더욱 훨씬 정말 진짜 너무 꽤 함께 같이 가볍게 크게 작게 꽉 세게
    """.split()
)  # fmt: skip
ADVERB_ENDINGS = ("하게", "럽게", "롭게", "히")  # how, not what: 부드럽게, 확실히
STAY = frozenset("가만히 그대로 제자리에 제자리 거기 여기 여기에 거기에 자리에 가만 움직이지".split())
CAMERA = frozenset("카메라 고개 머리 시선 눈 렌즈".split())
BODY = frozenset("방향 몸 차체 로봇 바퀴 몸체 차 핸들 본체 자신 자기".split())
ME_AND_ROBOT = frozenset(
    "로봇 동작 행동 명령 답 나 저 내 제 너 네 당신 우리 로버 차량 에이전트 자네 그쪽 기기 이번에 다음 지금 이제".split()
)
NO_TARGET = frozenset("나 저 여기 거기 이리 그것 이것 저것 그거 이거 저거 그 이 저 그곳 이곳 저곳 내 그걸 이걸 나한테 저리 그리".split())
QUESTION_WORDS = frozenset(
    "어디 어디로 어디에 어디야 뭐 뭐가 뭘 무엇 무엇이 무엇을 왜 누구 누가 언제 어떻게 어느 어떤 얼마나 무슨 어디까지".split()
)
CORRECTIONS = frozenset("아니 아냐 아니야 아니요 아니오 아차 정정 아니다 참".split())
NOT_THIS_BUT = frozenset("말고 아니라 아니고 대신 대신에 말구".split())
STOP_SOON = frozenset("금지 금지합니다 금지다 금지해 금지하세요 금지입니다 금지한다 불가 안돼 안됩니다".split())
AFTER = frozenset("다음 다음에 다음엔 다음에는 후 후에 후엔 뒤 뒤에 뒤엔 이후 이후에 직후".split())
ASIDE_ENDINGS = tuple(
    """
    니까 으니 므로 지만 는데 인데 은데 라서 어서 아서 해서 져서 려서 워서 았고 었고 있고 이고 이니 되니 하니 막히니 으며 이며 느라
    때문에 으나 거나 했고 혀서 겨서 됐고 여서
    """.split()
)
WHENEVER = frozenset("때 때는 때만 때에 때에만 때엔 때에는 때마다 경우 경우에 경우에만 경우엔 경우에는".split())
AT_ONCE = frozenset("즉시 대로".split())  # 열리는 즉시: once it opens
BEFORE = frozenset("전 전에 전까지".split())  # 가기 전에
THEREFORE = frozenset("따라서 그래서 그러므로 그러니까 그러니 그런데 하지만 그러나 그렇지만".split())
EVIDENTLY = frozenset("따르면 의하면 고려하면 감안하면 종합하면 판단하면 참고하면 보자면".split())  # as told, no condition
PICTURES = frozenset("이미지 사진 화면 영상 장면 그림 상황 카메라 프레임 전체".split())
HANDS = frozenset("그리퍼 집게 집게손 손 핸드 손가락 클로".split())
SPEEDS = {"느린": "천천히", "낮은": "천천히", "빠른": "빠르게", "높은": "빠르게"}  # 느린 속도로
PARTICLES = frozenset("으로 로 을 를 까지 에서".split())  # alone, they were meant to be on the word before
ADJECTIVES = frozenset(
    """
    작은 높은 낮은 넓은 좁은 긴 짧은 많은 적은 같은 밝은 검은 붉은 젊은 늙은 얇은 좋은 낡은 굵은 깊은 얕은 굽은 남은 앉은 묽은 맑은
    옅은 짙은 곧은 누운 서있는 있는 보이는 놓인 큰 먼 흰
    """.split()
)  # fmt: skip
RELATIVES = frozenset("놓인 보이는 떨어진 세워진 쌓인 걸린 서있는 놓여있는 보관된 위치한".split())
CONDITION_NOUNS = frozenset("화면 정면 측면 표면 장면 라면 가면 옆면 지면 벽면 바닥면 단면 전면 후면 도면 평면".split())
AUXILIARY = frozenset(
    """
    줘 줘요 줘라 주세요 주십시오 주시오 주라 주시겠어요 주시겠습니까 주실래요 주실래 줄래 줄래요 봐 봐요 봐라 보세요 보십시오 보자
    주길 주시길 주시기 버려 바랍니다 바람 라 요 나가
    """.split()
)  # fmt: skip
LOANS = {
    "stop": "정지", "halt": "정지", "go": "이동", "move": "이동", "turn": "회전", "back": "후진", "left": "왼쪽", "right": "오른쪽",
    "forward": "앞", "backward": "뒤", "grab": "파지", "find": "검색",
}  # fmt: skip
